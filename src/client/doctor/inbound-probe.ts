import { connect } from 'node:net';
import { runBounded } from '../bounded-command.ts';

/** Two SYNs go out in this time. */
const timeoutMs = 2500;
/** tcpmux (RFC 1078), which nobody serves: a system whose firewall does not interfere says so at once. */
const unservedPort = 1;

/**
 * Whether a member's system answers what comes in through the tunnel: `closed` is what people call closed ports, a firewall of
 * that system on its Buri interface. Asked by TCP to a port that nobody serves, and by ping where that program is.
 */
export async function probeInbound(
  address: string,
  localAddress: string | undefined,
): Promise<'open' | 'closed'> {
  const [tcp, ping] = await Promise.all([answersTcp(address, localAddress), answersPing(address)]);
  return tcp || ping ? 'open' : 'closed';
}

function answersTcp(host: string, localAddress: string | undefined): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({
      ...{ host, port: unservedPort },
      ...(localAddress === undefined ? {} : { localAddress }),
    });
    const settle = (answer: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => settle(false), timeoutMs);
    socket.once('connect', () => settle(true));
    // Refused is an answer of that system; that it forbids it (EHOSTUNREACH, EACCES) is one of its firewall.
    socket.once('error', ({ code }: NodeJS.ErrnoException) => settle(code === 'ECONNREFUSED'));
  });
}

async function answersPing(address: string): Promise<boolean> {
  const args = ['-n', '-q', '-c', '1', '-W', `${Math.round(timeoutMs / 1000)}`, address];
  return (await runBounded('ping', args, { timeoutMs: timeoutMs + 1000, maxOutputBytes: 4096 })).ok;
}
