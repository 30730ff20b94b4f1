module holdfast/tests/peers/pause

go 1.26.0
