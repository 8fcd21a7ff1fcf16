"""What a program measures before and after the go-live: probes of database, engine, edge and metadata."""
