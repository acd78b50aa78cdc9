// An OpenID provider by other people than those of the demo's: node-oidc-provider.
// node idp.mjs PORT REDIRECT-URI
import Provider from 'oidc-provider';

const [port, redirect] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'twokey', client_secret: 'demo', redirect_uris: [redirect], grant_types: ['authorization_code'],
    response_types: ['code'], application_type: 'native', id_token_signed_response_alg: 'RS256',
  }],
  pkce: { required: () => true },
  conformIdTokenClaims: false, // groups and the like in the ID token
  scopes: ['openid', 'email', 'profile', 'groups'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['department', 'employee_id'], groups: ['groups'] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id, email: `${id}@example.com`, email_verified: true, groups: ['engineering'], department: 'payments', employee_id: `n-${id}`,
    }),
  }),
});
provider.listen(Number(port), '127.0.0.1', () => console.log(issuer));
