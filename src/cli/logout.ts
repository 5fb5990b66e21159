/** `buri logout` */
import type { Command } from 'commander';
import { clientCommand, serverTimeoutMs } from './client-command.ts';

export const logoutCommand = (): Command =>
  clientCommand('logout', {
    details: 'The other members see this computer go offline. Memberships stay.',
    examples: [['buri logout', 'off until the next buri login']],
    timeoutMs: serverTimeoutMs,
    request: () => ({}),
    render: () => 'logged out\n',
  });
