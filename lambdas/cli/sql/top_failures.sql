SELECT name AS account, sum(times)::BIGINT AS failures, len(list_distinct(flatten(list(others)))) AS sources
FROM attempts WHERE kind = 'account' AND time >= getvariable('since')
GROUP BY 1 ORDER BY failures DESC, 1
