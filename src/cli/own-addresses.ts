/** By which addresses of its own a machine is reached in both families, as far as it can know. */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { classOf } from '#core/path/address-class.ts';

/** Where no address of the server is known: documentation addresses (RFC 5737, RFC 3849), which the default route leads to. */
const anywhere = { 4: '192.0.2.1', 6: '2001:db8::1' } as const;

/**
 * For each family the address from which this machine would send to the host, where that is a public one. Else, behind a NAT or without a
 * route, the unspecified address, which leaves it to the server to say where a connection came from. Nothing is sent.
 */
export async function ownAddresses(host: string): Promise<string[]> {
  const found = await lookup(host, { all: true }).catch(() => []);
  const towards = (family: 4 | 6) =>
    found.find((one) => one.family === family)?.address ?? anywhere[family];
  return [
    (await publicSource('udp4', towards(4))) ?? '0.0.0.0',
    (await publicSource('udp6', towards(6))) ?? '::',
  ];
}

const anyPort = 9;

function publicSource(type: 'udp4' | 'udp6', towards: string): Promise<string | undefined> {
  const socket = createSocket(type);
  return new Promise((resolve) => {
    const done = (address?: string) => {
      socket.close();
      resolve(address !== undefined && classOf(address) === 'public' ? address : undefined);
    };
    socket.once('error', () => done());
    // Called with the error, if there is one, which the types do not say.
    socket.connect(anyPort, towards, (error?: Error) =>
      done(error === undefined || error === null ? socket.address().address : undefined),
    );
  });
}
