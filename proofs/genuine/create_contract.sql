-- The database of the contract suite's engine.
CREATE DATABASE contract;
