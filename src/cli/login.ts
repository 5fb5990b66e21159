/** `buri login [URL]` */
import type { Command } from 'commander';
import { clientCommand, given, serverTimeoutMs } from './client-command.ts';
import { facts } from './table.ts';

export const loginCommand = (): Command =>
  clientCommand('login', {
    details:
      "URL is what 'buri server url' prints on the server: buri://HOST:PORT#SERVER-KEY. Without it the server " +
      'of last time is taken. The first login to a server may need a token from its operator. The daemon ' +
      'stays logged in, over restarts too, until buri logout.',
    arguments: [['[url]', 'buri://HOST:PORT#SERVER-KEY']],
    options: [
      ['--nick <name>', 'nickname that others see (default: the name of this computer)'],
      ['--token <token>', "enrolment token from the server's operator"],
    ],
    wait: 'answer only when this computer is online',
    examples: [
      ['buri login buri://vpn.example.org:8443#KEY --nick anna --token T', 'for the first time'],
      ['buri login', 'again, to the same server'],
      ['buri login --wait 30', 'fail when it takes longer than 30 seconds'],
    ],
    timeoutMs: serverTimeoutMs,
    request: ([url], { nick, token, wait }) => ({
      ...given('url', url),
      ...given('nick', nick as string | undefined),
      ...given('token', token as string | undefined),
      ...given('waitSeconds', wait),
    }),
    render: ({ clientId, ipv4, ipv6, pinnedKey }, _request, paint) =>
      `logged in\n${facts(
        [
          ['client id', clientId],
          ['addresses', ipv4, ipv6],
          ['server key', pinnedKey],
        ],
        paint,
      )}${pinnedKey === undefined ? '' : pinnedText}`,
  });

const pinnedText =
  'The URL carried no key, so the key above was trusted unseen and will be the only one accepted from now on.\n' +
  "Compare it with the part after # in what 'buri server url' prints on the server.\n";
