package house

import (
	"os"
	"path/filepath"
	"strings"
)

// This file is the configuration of the demo's bastion: what an operator makes
// of the one that `twokey init` writes.

const (
	hostName = "bastion" // what people type after ssh

	clientID, clientSecret = "twokey", "demo-client-secret"
	s3Access, s3Secret     = "demo", "demo-s3-secret"
)

// PasswordRO is the one of app_ro. In production nobody reads these.
const (
	PasswordRO    = "demo-ro"
	passwordRW    = "demo-rw"
	passwordMaker = "demo-maker"
)

const config = `# The demo's bastion. The grace time is short so that the story is.
ssh:   {listen: "SSH", host_key: {file: keys/host}, name: bastion}
http:  {listen: "HTTP", url: "http://HTTP"}
monitor: {listen: "MONITOR"}
state: ../state
login:
  issuer: ISSUER
  client_id: twokey
  client_secret: {file: secrets/oidc}
  scopes: [openid, email, profile, groups]
  claims: {name: email, groups: groups, team: department, same_person: employee_id}
certificates: {user_ca: {file: keys/user_ca}, host_ca: {file: keys/host_ca}, ttl: 8h}
recordings:
  store: s3://recordings
  s3: {endpoint: "http://S3", region: us-east-1, access_key: {file: secrets/s3_access}, secret_key: {file: secrets/s3_secret}}
  segment: {every: 1s, bytes: 256KiB}
  signing_key: {file: keys/recording}
  max_lag: {time: 60s, bytes: 64MiB}
auditors: {groups: [security]}
admins:   {groups: [platform]}
targets:
  - name: orders
    postgres: {host: 127.0.0.1, port: PGPORT, database: orders, sslmode: disable}
    modes:
      - name: read
        login: {user: app_ro, password: {file: secrets/app_ro}}
        engineers: {groups: [engineering]}
        shadows: none
      - name: watched                        # as read, but that somebody watches
        login: {user: app_ro, password: {file: secrets/app_ro}}
        engineers: {groups: [engineering]}
        shadows: [{count: 1, groups: [engineering]}]
        limits: {wait: 15m, grace: 5s}
      - name: write
        login: {user: app_rw, password: {file: secrets/app_rw}}
        engineers: {groups: [engineering]}
        shadows: [{count: 1, groups: [engineering]}]
        reason: required
        limits: {wait: 15m, duration: 1h, idle: 15m, grace: 5s}
      - name: repair
        login: {user: app_rw, password: {file: secrets/app_rw}}
        engineers: {groups: [engineering]}
        approve: commit
        limits: {wait: 15m, grace: 5s}
      - name: own
        login: {admin: {user: maker, password: {file: secrets/maker}}, member_of: [app_own]}
        engineers: {groups: [engineering]}
        shadows: none
`

// writeConfig replaces the starter configuration, and puts the secrets beside it.
func (h *House) writeConfig(etc string) error {
	text := strings.NewReplacer("SSH", h.ssh, "HTTP", h.http, "ISSUER", h.issuer, "S3", h.s3, "PGPORT", h.DB.port, "MONITOR", h.monitor).Replace(config)
	if err := os.WriteFile(h.Config(), []byte(text), 0o600); err != nil {
		return err
	}
	secrets := map[string]string{
		"oidc": clientSecret, "s3_access": s3Access, "s3_secret": s3Secret, "app_ro": PasswordRO, "app_rw": passwordRW, "maker": passwordMaker,
	}
	for name, secret := range secrets {
		if err := os.WriteFile(filepath.Join(etc, "secrets", name), []byte(secret+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}
