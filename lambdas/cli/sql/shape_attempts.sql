SELECT kind, name, make_timestamp(("at" * 1000000)::BIGINT) AS time, times::BIGINT AS times, others FROM source_attempts
