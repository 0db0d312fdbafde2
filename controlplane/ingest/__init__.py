"""Takes the sensors' streams in: who may connect (sensors.py), what a stream may say (connect.py), and how a batch gets
through the pipeline into the store (intake.py)."""
