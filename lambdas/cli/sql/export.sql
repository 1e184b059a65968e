-- The table of calls as DynamoDB exports it: {"Item": {"pk": {"S": "…"}, "started": {"N": "…"}, …}}, one a line.
CREATE TEMP TABLE items AS
SELECT
    Item.pk.S AS pk, Item.sk.S AS sk, Item."call".S AS "call", Item.call_id.S AS call_id, Item.caller.S AS caller,
    Item.called.S AS called, Item.account.S AS account, Item.ended_by.S AS ended_by, Item.reason.S AS reason,
    Item.transferred_by.S AS transferred_by, Item.legs.S AS legs, Item.kind.S AS kind, Item.about.S AS about, Item.text.S AS text,
    coalesce(Item.invited.N, Item.started.N)::DOUBLE AS started, Item.ringing.N::DOUBLE AS ringing, Item.answered.N::DOUBLE AS answered,
    Item.ended.N::DOUBLE AS ended, Item.status.N::DOUBLE AS status, Item."at".N::DOUBLE AS "at",
    Item.times.N::DOUBLE AS times, Item.media.S AS media, Item.media_why.S AS media_why, Item.quality.S AS quality,
    list_transform(Item.providers.L, lambda one: split_part(one.S, '/', -1)) AS providers,
    list_transform(Item.edges.L, lambda one: one.S) AS edges,
    list_transform(Item.user_agents.L, lambda one: one.S) AS user_agents,
    list_transform(Item.codecs.L, lambda one: one.S) AS codecs,
    Item.others.SS AS others
FROM read_json(getvariable('files'), format = 'newline_delimited', columns = {Item: 'STRUCT(
    pk STRUCT(S VARCHAR), sk STRUCT(S VARCHAR), "call" STRUCT(S VARCHAR), call_id STRUCT(S VARCHAR),
    caller STRUCT(S VARCHAR), called STRUCT(S VARCHAR), account STRUCT(S VARCHAR), ended_by STRUCT(S VARCHAR),
    reason STRUCT(S VARCHAR), transferred_by STRUCT(S VARCHAR), legs STRUCT(S VARCHAR), kind STRUCT(S VARCHAR),
    about STRUCT(S VARCHAR), text STRUCT(S VARCHAR), started STRUCT(N VARCHAR), invited STRUCT(N VARCHAR), ringing STRUCT(N VARCHAR), answered STRUCT(N VARCHAR),
    ended STRUCT(N VARCHAR), status STRUCT(N VARCHAR), "at" STRUCT(N VARCHAR), times STRUCT(N VARCHAR),
    providers STRUCT(L STRUCT(S VARCHAR)[]), edges STRUCT(L STRUCT(S VARCHAR)[]),
    media STRUCT(S VARCHAR), media_why STRUCT(S VARCHAR), quality STRUCT(S VARCHAR),
    user_agents STRUCT(L STRUCT(S VARCHAR)[]), codecs STRUCT(L STRUCT(S VARCHAR)[]), others STRUCT(SS VARCHAR[])
)'});

-- A call is one item, and its end another one whose key differs in the last word.
CREATE TEMP VIEW source_calls AS
WITH ends AS (
    SELECT pk, left(sk, -length('#ended')) AS place, ended, ended_by, reason, media, media_why, quality
    FROM items WHERE sk LIKE '%#ended'
)
SELECT
    one."call" AS id, split_part(one.pk, '#', 1) AS tenant, one.call_id, one.caller, one.called, one.account,
    one.started, one.ringing, one.answered, coalesce(ends.ended, one.ended) AS ended,
    coalesce(one.status, 200) AS status, coalesce(ends.ended_by, '') AS ended_by,
    coalesce(ends.reason, one.reason, '') AS reason,
    one.providers, one.edges, one.user_agents, one.codecs, one.transferred_by,
    coalesce(ends.media, one.media) AS media,
    CASE WHEN ends.media IS NULL THEN one.media_why ELSE ends.media_why END AS media_why,
    from_json(coalesce(ends.quality, '[]'), '[{
        "side": "VARCHAR", "packets": "BIGINT", "longest_gap": "DOUBLE", "lost": "BIGINT", "jitter": "DOUBLE",
        "mos": "DOUBLE"
    }]') AS quality,
    list_transform(
        from_json(coalesce(one.legs, '[]'), '[{
            "to": "VARCHAR", "provider": "VARCHAR", "address": "VARCHAR", "number": "VARCHAR", "status": "INTEGER"
        }]'),
        lambda leg: {
            'to': leg."to", 'provider': split_part(coalesce(leg.provider, ''), '/', -1),
            'edge': coalesce(leg.address, ''), 'number': coalesce(leg.number, ''), 'status': coalesce(leg.status, 0)
        }
    ) AS legs
FROM items one LEFT JOIN ends ON one.pk = ends.pk AND left(one.sk, -length('#' || split_part(one.sk, '#', -1))) = ends.place
WHERE one.sk LIKE '%#answered' OR one.sk LIKE '%#failed';

CREATE TEMP VIEW source_events AS
SELECT split_part(pk, '#events#', 1) AS tenant, "at", kind, about, call_id, text FROM items WHERE pk LIKE '%#events#%';

CREATE TEMP VIEW source_attempts AS
SELECT
    split_part(pk, '#', 2) AS kind, substr(pk, length('abuse#' || split_part(pk, '#', 2) || '#') + 1) AS name,
    left(sk, 10)::DOUBLE AS "at", times, others
FROM items WHERE pk LIKE 'abuse#%' AND sk NOT LIKE 'known#%'
