/**
 * Finding an Internet gateway device (UPnP Device Architecture 1.1 §1.3): one HTTP-like datagram to 239.255.255.250:1900, or to the
 * gateway's own port 1900, and answers of the same kind.
 *
 *     M-SEARCH * HTTP/1.1            HTTP/1.1 200 OK
 *     HOST: 239.255.255.250:1900     ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1
 *     MAN: "ssdp:discover"           LOCATION: http://192.168.1.1:5000/rootDesc.xml
 *     MX: 1                          SERVER: …
 *     ST: urn:…
 */
import { addressBytes, type Endpoint } from './endpoint.ts';

export const ssdpGroup: Endpoint = { address: '239.255.255.250', port: 1900 };
/** Answers are a few hundred bytes. */
export const maxSsdpBytes = 2048;
const maxPathChars = 512;

export const searchTargets = {
  gateway1: 'urn:schemas-upnp-org:device:InternetGatewayDevice:1',
  gateway2: 'urn:schemas-upnp-org:device:InternetGatewayDevice:2',
  root: 'upnp:rootdevice',
} as const;

/** A place on the gateway to send HTTP to. */
export interface HttpTarget {
  /** IPv4 literal: a name would have to be looked up, and could lead anywhere. */
  readonly address: string;
  readonly port: number;
  readonly path: string;
}

export interface SsdpAnswer {
  readonly location: HttpTarget;
  /** What it calls itself, printable, or empty. */
  readonly server: string;
}

/** @param host what is searched: the group, or one machine */
export function encodeSearch(target: string, host: Endpoint): Uint8Array {
  const lines = [
    'M-SEARCH * HTTP/1.1',
    `HOST: ${host.address}:${host.port}`,
    'MAN: "ssdp:discover"',
    'MX: 1',
    `ST: ${target}`,
  ];
  return new TextEncoder().encode(`${lines.join('\r\n')}\r\n\r\n`);
}

/** An answer to a search that says where a device is described by HTTP; else undefined. */
export function decodeSearchAnswer(bytes: Uint8Array): SsdpAnswer | undefined {
  if (bytes.length > maxSsdpBytes) return undefined;
  const [status = '', ...lines] = new TextDecoder('latin1').decode(bytes).split(/\r?\n/);
  if (!/^HTTP\/1\.[01] 200(\s|$)/i.test(status)) return undefined;
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const name = line.slice(0, colon).trim().toLowerCase();
    if (!headers.has(name)) headers.set(name, line.slice(colon + 1).trim());
  }
  const location = parseHttpTarget(headers.get('location') ?? '');
  if (location === undefined) return undefined;
  return { location, server: printable(headers.get('server') ?? '') };
}

/**
 * `http://IPv4[:port][/path]`, or, with a base, a path on the same machine. Undefined for anything else: other schemes, names,
 * user information, characters that do not belong into a request line.
 */
export function parseHttpTarget(text: string, base?: HttpTarget): HttpTarget | undefined {
  const absolute = /^http:\/\/([0-9.]{7,15})(?::([0-9]{1,5}))?(\/[^#]*)?(#.*)?$/i.exec(text);
  if (absolute !== null) {
    const [, address = '', portText = '80', path = '/'] = absolute;
    const port = Number(portText);
    if (addressBytes(address) === undefined || port < 1 || port > 65_535) return undefined;
    return isPath(path) ? { address, port, path } : undefined;
  }
  if (base === undefined || text === '' || /^[a-z][a-z0-9+.-]*:|^\/\//i.test(text)) {
    return undefined;
  }
  const directory = base.path.replace(/[?#].*$/s, '').replace(/[^/]*$/, '');
  const path = (text.startsWith('/') ? text : `${directory}${text}`).replace(/#.*$/s, '');
  return isPath(path) ? { ...base, path } : undefined;
}

const isPath = (path: string) => path.length <= maxPathChars && /^\/[\x21-\x7e]*$/.test(path);

const printable = (text: string) => text.replace(/[^\x20-\x7e]/g, '').slice(0, 80);
