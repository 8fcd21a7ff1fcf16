"""`leads golive`: the checklist of the go-live as data, evaluated, recorded and signed."""
