SELECT tenant, account, round(sum(seconds) / 60, 1) AS minutes, count(*) AS calls
FROM calls WHERE answered IS NOT NULL AND started >= getvariable('since')
GROUP BY 1, 2 ORDER BY minutes DESC NULLS LAST, calls DESC, 2
