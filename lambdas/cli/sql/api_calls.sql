-- As GET /v1/calls gives them, with the tenant.
CREATE TEMP VIEW source_calls AS
SELECT * FROM read_json(getvariable('files'), format = 'newline_delimited', columns = {
    id: 'VARCHAR', tenant: 'VARCHAR', call_id: 'VARCHAR', caller: 'VARCHAR', called: 'VARCHAR', account: 'VARCHAR',
    started: 'DOUBLE', ringing: 'DOUBLE', answered: 'DOUBLE', ended: 'DOUBLE', status: 'DOUBLE',
    ended_by: 'VARCHAR', reason: 'VARCHAR', providers: 'VARCHAR[]', edges: 'VARCHAR[]', user_agents: 'VARCHAR[]',
    codecs: 'VARCHAR[]', transferred_by: 'VARCHAR', media: 'VARCHAR', media_why: 'VARCHAR',
    quality: 'STRUCT(side VARCHAR, packets BIGINT, longest_gap DOUBLE, lost BIGINT, jitter DOUBLE, mos DOUBLE)[]',
    legs: 'STRUCT("to" VARCHAR, provider VARCHAR, edge VARCHAR, number VARCHAR, status INTEGER)[]'
})
