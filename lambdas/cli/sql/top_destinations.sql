SELECT
    tenant, left(number, getvariable('digits')) AS destination, count(*) AS calls,
    round(sum(seconds) / 60, 1) AS minutes, count(DISTINCT account) AS accounts
FROM calls WHERE number <> '' AND started >= getvariable('since')
GROUP BY 1, 2 ORDER BY calls DESC, minutes DESC, 2
