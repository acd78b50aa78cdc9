/* A client of libpq in pipeline mode: it sends far ahead of what it reads, fails
 * in the middle, goes on behind the next Sync, and copies. It prints what it reads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <libpq-fe.h>

enum { BATCHES = 20, EACH = 100 };

static void die(PGconn *c, const char *where)
{
	fprintf(stderr, "%s: %s", where, PQerrorMessage(c));
	exit(1);
}

/* one prints the results of one command, up to the NULL behind them */
static void one(PGconn *c)
{
	PGresult *r;
	while ((r = PQgetResult(c)) != NULL) {
		ExecStatusType s = PQresultStatus(r);
		if (s == PGRES_TUPLES_OK && PQntuples(r) > 0)
			printf("%s\n", PQgetvalue(r, 0, 0));
		else
			printf("%s %s %s\n", PQresStatus(s), PQcmdStatus(r), PQresultErrorField(r, PG_DIAG_SQLSTATE) ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : "");
		PQclear(r);
		if (s == PGRES_PIPELINE_SYNC)
			return;
	}
}

int main(void)
{
	PGconn *c = PQconnectdb("");
	char text[20];
	const char *values[] = { text };
	if (PQstatus(c) != CONNECTION_OK)
		die(c, "connect");
	if (!PQenterPipelineMode(c))
		die(c, "pipeline");
	PQsetnonblocking(c, 1);
	if (!PQsendPrepare(c, "twice", "select 2 * $1::int", 1, NULL) || !PQpipelineSync(c))
		die(c, "prepare");
	for (int b = 0; b < BATCHES; b++) {
		for (int i = 0; i < EACH; i++) {
			snprintf(text, sizeof text, "%s%d", b == 7 && i == 50 ? "not " : "", b * EACH + i);
			if (!PQsendQueryPrepared(c, "twice", 1, values, NULL, NULL, 0))
				die(c, "send");
		}
		if (!PQpipelineSync(c))
			die(c, "sync");
	}
	while (PQflush(c) > 0)
		PQconsumeInput(c);
	one(c), one(c);
	for (int b = 0; b < BATCHES; b++)
		for (int i = 0; i <= EACH; i++)
			one(c);
	PQsetnonblocking(c, 0);
	if (!PQsendQueryParams(c, "select 'asked to flush'", 0, NULL, NULL, NULL, NULL, 0) || !PQsendFlushRequest(c) || PQflush(c))
		die(c, "flush");
	one(c);
	if (!PQpipelineSync(c))
		die(c, "last sync");
	one(c);
	if (!PQexitPipelineMode(c))
		die(c, "leave");
	PQclear(PQexec(c, "create temp table t (n int)"));
	PQclear(PQexec(c, "copy t from stdin"));
	for (int i = 0; i < 1000; i++)
		PQputCopyData(c, "7\n", 2);
	PQputCopyEnd(c, NULL);
	PGresult *r = PQgetResult(c);
	printf("%s\n", PQcmdStatus(r));
	PQclear(r);
	PQfinish(c);
	return 0;
}
