-- As GET /v1/events gives them, with the tenant.
CREATE TEMP VIEW source_events AS
SELECT * FROM read_json(getvariable('files'), format = 'newline_delimited', columns = {
    tenant: 'VARCHAR', "at": 'DOUBLE', kind: 'VARCHAR', about: 'VARCHAR', call_id: 'VARCHAR', text: 'VARCHAR'
})
