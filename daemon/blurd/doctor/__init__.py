"""`blurd doctor`: looks at the settings, the folders, the models, the units and the shares, and says what to mend."""
