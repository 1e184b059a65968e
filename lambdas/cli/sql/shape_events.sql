SELECT tenant, make_timestamp(("at" * 1000000)::BIGINT) AS time, kind, about, call_id, text FROM source_events
