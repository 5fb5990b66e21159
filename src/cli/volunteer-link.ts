/** A relay's end of the way through a daemon to the server (`src/wire/volunteer.ts`). */
import { createInterface } from 'node:readline';
import { BuriError } from '#core/errors.ts';
import type { RelayOffer } from '#wire/relay-control.ts';
import {
  maxVolunteerLineBytes,
  type VolunteerLine,
  volunteerLine,
  volunteerPath,
  volunteerText,
} from '#wire/volunteer.ts';
import { openStream } from './local-client.ts';

/**
 * Follows the daemon until the signal aborts, and offers the relay through it as long. BuriError: relay-busy, connection-lost when
 * the daemon ends, and those of `callDaemon`.
 */
export async function followDaemon(
  socketPath: string,
  offer: RelayOffer | undefined,
  onLine: (line: VolunteerLine) => void,
  signal: AbortSignal,
): Promise<void> {
  const body = volunteerText(offer === undefined ? {} : { offer });
  const response = await openStream(socketPath, volunteerPath, body, signal);
  let unread = 0;
  response.on('data', (chunk: Buffer) => {
    const end = chunk.lastIndexOf(10);
    unread = end < 0 ? unread + chunk.length : chunk.length - end;
    if (unread > maxVolunteerLineBytes) response.destroy();
  });
  try {
    for await (const text of createInterface({ input: response, crlfDelay: 0 })) {
      onLine(lineOf(text));
    }
  } catch (error) {
    if (error instanceof BuriError) throw error;
  } finally {
    response.destroy();
  }
  if (signal.aborted) return;
  throw new BuriError('connection-lost', `Buri's daemon at ${socketPath} has ended`);
}

function lineOf(text: string): VolunteerLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const parsed = volunteerLine.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new BuriError('not-a-daemon', 'the daemon sent a line that cannot be understood');
}
