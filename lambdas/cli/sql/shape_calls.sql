-- One row a call, from source_calls. Times are UTC.
SELECT
    id, tenant, call_id, caller, called, account,
    make_timestamp((started * 1000000)::BIGINT) AS started,
    make_timestamp((ringing * 1000000)::BIGINT) AS ringing,
    make_timestamp((answered * 1000000)::BIGINT) AS answered,
    make_timestamp((ended * 1000000)::BIGINT) AS ended,
    CASE WHEN answered IS NULL THEN 0 ELSE ended - answered END AS seconds,
    status::INTEGER AS status,
    ended_by, reason,
    providers[1] AS provider_in, providers[2] AS provider_out,
    legs[1].number AS number,
    edges[1] AS caller_edge, edges[2] AS called_edge,
    user_agents[1] AS caller_agent, user_agents[2] AS called_agent,
    codecs, coalesce(transferred_by, '') AS transferred_by,
    coalesce(media, '') AS media, coalesce(media_why, '') AS media_why,
    from_caller.packets AS caller_packets, from_caller.longest_gap AS caller_gap,
    from_caller.lost AS caller_lost, from_caller.jitter AS caller_jitter, from_caller.mos AS caller_mos,
    from_called.packets AS called_packets, from_called.longest_gap AS called_gap,
    from_called.lost AS called_lost, from_called.jitter AS called_jitter, from_called.mos AS called_mos
FROM (
    SELECT *, list_filter(quality, lambda one: one.side = 'caller')[1] AS from_caller,
        list_filter(quality, lambda one: one.side = 'called')[1] AS from_called
    FROM source_calls
)
