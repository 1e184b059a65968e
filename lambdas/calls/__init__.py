"""Call policy: what becomes of a request, by accounts, dial plans, providers and limits. It knows neither HTTP nor
DynamoDB: whatever it has to read comes through ``Facts``."""
