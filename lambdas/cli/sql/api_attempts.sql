-- As GET /v1/attempts gives them.
CREATE TEMP VIEW source_attempts AS
SELECT * FROM read_json(getvariable('files'), format = 'newline_delimited', columns = {
    kind: 'VARCHAR', name: 'VARCHAR', "at": 'DOUBLE', times: 'DOUBLE', others: 'VARCHAR[]'
})
