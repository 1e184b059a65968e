SELECT tenant, account, count(*) AS failed, count(DISTINCT called) AS called
FROM calls WHERE status >= 300 AND started >= getvariable('since')
GROUP BY 1, 2 ORDER BY failed DESC, 2
