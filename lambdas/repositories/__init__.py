"""The only code that knows DynamoDB: models, conditions, queries. Gives and takes the decisions' value types."""
