-- What /healthz tells: part of the program, so that a reload brings it too.
return "0.1.0"
