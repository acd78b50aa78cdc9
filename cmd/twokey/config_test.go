package main

import "testing"

// whole is a configuration that says everything this version can do.
const whole = `ssh:   {listen: ":2222", host_key: {file: keys/host}}
http:  {listen: ":8022", url: "https://bastion.example.com"}
state: /var/lib/twokey
login:
  issuer: https://idp.example.com
  client_id: twokey
  client_secret: {env: TWOKEY_OIDC_SECRET}
  scopes: [openid, email, profile, groups]
  claims: {name: email, groups: groups, team: department, same_person: employee_id}
certificates: {user_ca: {file: keys/user_ca}, host_ca: {file: keys/host_ca}, ttl: 8h, source_address: false}
recordings:
  store: s3://recordings/prod
  s3: {endpoint: "https://s3.example.com", region: us-east-1, access_key: {env: AK}, secret_key: {env: SK}}
  segment: {every: 1s, bytes: 256KiB}
  signing_key: {file: keys/recording}
  max_lag: {time: 60s, bytes: 64MiB}
auditors: {groups: [security]}
admins:   {groups: [platform]}
targets:
  - name: orders
    postgres: {host: orders-db, port: 5432, database: orders, sslmode: verify-full, sslrootcert: ca.pem}
    modes:
      - name: read
        login: {user: app_ro, password: {file: secrets/ro}}
        engineers: {groups: [engineering]}
        shadows: none
      - name: write
        login: {user: app_rw, password: {file: secrets/rw}}
        engineers: {groups: [engineering]}
        shadows: [{count: 1, groups: [engineering, dba], other: team}]
        approve: none
        reason: required
        limits: {wait: 15m, duration: 1h, idle: 15m, grace: 30s}
`

func TestWhole(t *testing.T) {
	c, err := parseConfig("/etc/twokey/twokey.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", c)
}
