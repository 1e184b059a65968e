-- One row for each leg of a call, from source_calls; of an answered call the first is the one that answered.
SELECT
    id, tenant,
    make_timestamp((started * 1000000)::BIGINT) AS started,
    place, leg."to" AS "to", leg.provider AS provider, leg.edge AS edge, leg.number AS number, leg.status AS status
FROM (SELECT *, generate_subscripts(legs, 1) AS place, unnest(legs) AS leg FROM source_calls)
