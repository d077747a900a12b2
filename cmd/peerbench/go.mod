module github.com/sipacl/sipacl/cmd/peerbench

go 1.26.0

replace github.com/sipacl/sipacl => ../..

require (
	github.com/emiago/sipgo v1.7.2
	github.com/gaissmai/bart v0.30.0
	github.com/gobwas/glob v1.1.0
	github.com/sipacl/sipacl v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
	github.com/wasilibs/go-re2 v1.13.0
	github.com/yl2chen/cidranger v1.0.2
	go4.org/netipx v0.0.0-20260823151212-3075585bcbeb
)

require (
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/pool v0.2.1 // indirect
	github.com/gobwas/ws v1.3.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/icholy/digest v1.2.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.16.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)
