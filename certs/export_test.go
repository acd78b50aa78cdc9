package certs

// AgentSignerWithin is AgentSigner with less patience.
var AgentSignerWithin = agentSignerWithin
