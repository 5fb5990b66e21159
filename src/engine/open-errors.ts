import { constants } from 'node:os';
import { BuriError } from '#core/errors.ts';
import { formatEndpoint } from '#wire/endpoint.ts';

const { errno } = constants;

const nameOf = (error: number): string =>
  Object.entries(errno).find(([, value]) => value === error)?.[0] ?? `errno ${error}`;

/** What a negative errno of `deviceOpen` means to a person. */
export function deviceError(result: number, name: string): BuriError {
  switch (-result) {
    case errno.EBUSY:
    case errno.EEXIST:
    case errno.EINVAL:
      return new BuriError(
        'device-busy',
        `the interface name '${name}' is taken or not usable: stop the program that has it, or choose another with --device`,
      );
    case errno.EALREADY:
      return new BuriError('device-busy', 'the engine has a virtual interface already');
    case errno.EPERM:
    case errno.EACCES:
      return new BuriError(
        'device-forbidden',
        `no right to create the interface '${name}': run as root or give the program CAP_NET_ADMIN`,
      );
    case errno.ENOENT:
    case errno.ENODEV:
    case errno.ENXIO:
      return new BuriError(
        'device-missing',
        '/dev/net/tun is missing: load the kernel module (modprobe tun), or pass the device into the container (--device /dev/net/tun)',
      );
    default:
      return new BuriError(
        'device-failed',
        `creating the interface '${name}' failed: ${nameOf(-result)}`,
      );
  }
}

/** What a negative errno of `socketOpen` means to a person. */
export function socketError(result: number, address: string, port: number): BuriError {
  const endpoint = formatEndpoint({ address, port });
  switch (-result) {
    case errno.EADDRINUSE:
      return new BuriError(
        'port-in-use',
        `UDP port ${port} is in use: stop the program that has it, or choose another with --port`,
      );
    case errno.EACCES:
    case errno.EPERM:
      return new BuriError(
        'port-forbidden',
        `no right to use UDP ${endpoint}: choose a port above 1023`,
      );
    case errno.EADDRNOTAVAIL:
    case errno.EAFNOSUPPORT:
      return new BuriError('address-unavailable', `this machine has no address ${address}`);
    default:
      return new BuriError('socket-failed', `opening UDP ${endpoint} failed: ${nameOf(-result)}`);
  }
}

/** What a negative errno of `socketAdopt` or `socketDescriptor` means to a person. */
export function adoptError(result: number): BuriError {
  const isFull = -result === errno.EMFILE || -result === errno.ENFILE;
  return isFull
    ? new BuriError(
        'too-many-files',
        'no descriptor is left for another socket: allow more open files (ulimit -n, LimitNOFILE)',
      )
    : new BuriError('socket-failed', `taking over a socket failed: ${nameOf(-result)}`);
}
