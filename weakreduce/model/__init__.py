"""What weakreduce means: kinds, policies, fates, names, errors. No pickler here."""
