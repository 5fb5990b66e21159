/**
 * What do many sessions cost a flow? TCP between two clients, of which one has 250 established sessions and 1,000 routes, against the
 * same with one, in turns.
 *
 *   node bench/sessions.ts [--rounds 5] [--seconds 5] [--sessions 250] [--routes 1000] [--json FILE]
 */
import { parseArgs } from 'node:util';
import { runContest } from './contest.ts';
import { clientWithSessions } from './session-tunnels.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    sessions: { type: 'string', default: '250' },
    routes: { type: 'string', default: '1000' },
    json: { type: 'string' },
  },
});

const contenders = new Map([
  ['one', clientWithSessions(1, 1)],
  ['many', clientWithSessions(Number(values.sessions), Number(values.routes))],
]);
const times = { rounds: Number(values.rounds), seconds: Number(values.seconds) };
const contest = { contenders, scenarios: ['base'], ...times, reference: 'one' } as const;
await runContest(contest, values.json);
