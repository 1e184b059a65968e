SELECT name AS source, sum(times)::BIGINT AS failures, len(list_distinct(flatten(list(others)))) AS accounts
FROM attempts WHERE kind = 'source' AND time >= getvariable('since')
GROUP BY 1 ORDER BY failures DESC, 1
