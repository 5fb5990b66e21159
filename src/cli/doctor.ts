/** `buri doctor` */
import type { Command } from 'commander';
import type { DoctorCheck, DoctorView } from '#wire/local-api.ts';
import { clientCommand } from './client-command.ts';
import type { Colour, Paint } from './table.ts';
import { printable } from './text.ts';

/** It asks members and names, each in bounded time. */
const timeoutMs = 40_000;

export const doctorCommand = (): Command =>
  clientCommand('doctor', {
    details:
      'It looks at the interface, routes, firewall and clock of this computer, at the way to the server, UDP, relays and ' +
      'the MTU, and asks every member with a tunnel whether its computer answers. It changes nothing.',
    examples: [
      ['buri doctor', 'what is wrong, on which side, and what to do'],
      ['buri doctor --json', 'for scripts'],
    ],
    timeoutMs,
    request: () => ({}),
    render: (view, _request, paint) => doctorText(view, paint),
  });

const marks: Readonly<Record<DoctorCheck['status'], readonly [mark: string, colour: Colour]>> = {
  ok: ['ok', 'green'],
  warning: ['warning', 'yellow'],
  problem: ['PROBLEM', 'red'],
  unknown: ['unknown', 'grey'],
};

const sides: Readonly<Record<DoctorCheck['side'], string>> = {
  here: 'this computer',
  network: 'the network in between',
  server: 'the server',
  peer: 'the other computer',
};

export function doctorText({ checks }: DoctorView, paint: Paint): string {
  const lines = checks.flatMap(({ status, side, title, detail, todo }) => {
    const [mark, colour] = marks[status];
    const where = status === 'ok' || status === 'unknown' ? '' : ` [${sides[side]}]`;
    return [
      `${paint(colour, mark.padEnd(7))}  ${printable(title)}${where}`,
      ...(detail === undefined ? [] : [`         ${printable(detail)}`]),
      ...(todo === undefined ? [] : [`         → ${printable(todo)}`]),
    ];
  });
  const count = (status: DoctorCheck['status']) =>
    checks.filter((check) => check.status === status).length;
  const [problems, warnings] = [count('problem'), count('warning')];
  const verdict =
    problems + warnings === 0
      ? 'Nothing is wrong.'
      : `${problems} ${problems === 1 ? 'problem' : 'problems'}, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}.`;
  return `${lines.join('\n')}\n\n${verdict}\n`;
}
