module github.com/seed-c0a0ef17/pythread

go 1.24
