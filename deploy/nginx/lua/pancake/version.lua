-- The version that /healthz reports. A part of the program, so that a reload changes it too.
return "0.1.0"
