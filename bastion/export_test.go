package bastion

// For the tests of what a client's bytes are read as.
var (
	PsqlArguments = psqlArguments
	ParsePTY      = parsePTY
	ParseWindow   = parseWindow
	ParseEnv      = parseEnv
	ParseExec     = parseExec
	SessionID     = sessionID
)

// Words splits a command.
func Words(command string) []string { return texts(split(command)) }
