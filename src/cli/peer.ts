/** `buri peer CLIENT` */
import type { Command } from 'commander';
import type { PeerView } from '#wire/local-api.ts';
import { clientCommand, word } from './client-command.ts';
import { facts, type Paint, table } from './table.ts';
import { amount, duration, milliseconds, pathText } from './view.ts';

export const peerCommand = (): Command =>
  clientCommand('peer', {
    arguments: [['<client>', 'client id, or nickname where only one has it']],
    examples: [
      ['buri peer 123-456-789', 'path, tunnel, and all addresses it was tried at'],
      ['buri peer bert --json', 'for scripts'],
    ],
    request: (words) => ({ clientId: word(words, 0) }),
    render: (peer, _request, paint) => peerText(peer, paint),
  });

export function peerText(peer: PeerView, paint: Paint): string {
  const { session } = peer;
  const about = facts(
    [
      ['client id', peer.clientId],
      ['nickname', [peer.nick, 'bold']],
      ['addresses', peer.ipv4, peer.ipv6],
      ['presence', peer.presence],
      ['networks', ...peer.networks],
      ['path', pathText(peer.path) || 'none'],
      ['loss', lossText(peer.path)],
      ['jitter', jitterText(peer.path)],
      ['path mtu', mtuText(peer.path)],
      ['hard nat', peer.path.hardNat],
      ['this side', peer.nat?.here],
      ['other side', peer.nat?.there],
      ['what helps', ...(peer.advice ?? [])],
      ['tunnel', tunnelText(session)],
      ['sent', amount(session.sentBytes)],
      ['received', amount(session.receivedBytes)],
    ],
    paint,
  );
  if (peer.candidates.length === 0) return about;
  const rows = peer.candidates.map(({ kind, endpoint, state, rttMs }) => [
    kind,
    endpoint,
    state,
    rttMs === undefined ? '' : milliseconds(rttMs),
  ]);
  return `${about}\n  Tried addresses:\n${table(rows, paint, '    ')}`;
}

const lossText = ({ lossPercent }: PeerView['path']): string | undefined =>
  lossPercent === undefined ? undefined : `${Math.round(lossPercent)} % of the last probes`;

const jitterText = ({ jitterMs }: PeerView['path']): string | undefined =>
  jitterMs === undefined ? undefined : milliseconds(jitterMs);

const mtuText = ({ mtuBytes }: PeerView['path']): string | undefined =>
  mtuBytes === undefined ? undefined : `${mtuBytes} bytes in one piece`;

function tunnelText({ established, suite, lastHandshakeAgoMs }: PeerView['session']): string {
  if (!established) return 'none';
  const words = [
    'established',
    ...(suite === undefined ? [] : [suite]),
    ...(lastHandshakeAgoMs === undefined ? [] : [`keys ${duration(lastHandshakeAgoMs)} old`]),
  ];
  return words.join(', ');
}
