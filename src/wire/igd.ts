/**
 * Internet gateway devices of UPnP (IGD:1 and IGD:2): the device description, and the SOAP calls of WANIPConnection and
 * WANPPPConnection that port mapping needs.
 *
 *     POST controlURL HTTP/1.1
 *     SOAPAction: "urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping"
 *
 *     <s:Envelope …><s:Body><u:AddPortMapping xmlns:u="urn:…:WANIPConnection:1"> <NewExternalPort>…
 *
 * answered by `AddPortMappingResponse`, or by a fault with an `errorCode`.
 */
import { addressBytes } from './endpoint.ts';
import { type HttpTarget, parseHttpTarget } from './ssdp.ts';
import { childText, elementsNamed, escapeXml, parseXml } from './xml.ts';

export interface IgdService {
  readonly type: string;
  readonly control: HttpTarget;
  /** WANIPConnection:2 and later: `AddAnyPortMapping` chooses a free port. */
  readonly choosesPort: boolean;
}

export interface IgdDescription {
  /** Manufacturer and model, printable. */
  readonly product: string;
  /** Those that map ports, best first; at most 4. */
  readonly services: readonly IgdService[];
}

const maxServices = 4;
const maxProductChars = 80;
const description = 'Buri';

/** Of a kind, what is newer first; IP before PPP as most gateways have both and use the first. */
const serviceType = /^urn:schemas-upnp-org:service:(WANIPConnection|WANPPPConnection):([1-9])$/;

/** @param at where the description came from: its control addresses must be on the same machine */
export function decodeDescription(xml: string, at: HttpTarget): IgdDescription | undefined {
  const root = parseXml(xml);
  const device = root && elementsNamed(root, 'device')[0];
  if (root === undefined || device === undefined) return undefined;
  const declared = childText(root, 'URLBase');
  const urlBase = declared ? parseHttpTarget(declared) : undefined;
  const base = urlBase?.address === at.address ? urlBase : at;
  const services = elementsNamed(root, 'service').flatMap((service) => {
    const type = childText(service, 'serviceType') ?? '';
    const match = serviceType.exec(type);
    const control = parseHttpTarget(childText(service, 'controlURL') ?? '', base);
    if (match === null || control === undefined || control.address !== at.address) return [];
    const [, kind = '', version = '1'] = match;
    const choosesPort = kind === 'WANIPConnection' && Number(version) >= 2;
    return [{ type, control, choosesPort, rank: kind === 'WANIPConnection' ? -version : 1 }];
  });
  const product = [childText(device, 'manufacturer'), childText(device, 'modelName')]
    .filter((text) => text)
    .join(' ')
    .replace(/[^\x20-\x7e]/g, '')
    .slice(0, maxProductChars);
  return {
    product,
    services: services
      .toSorted((a, b) => a.rank - b.rank)
      .slice(0, maxServices)
      .map(({ rank: _, ...service }) => service),
  };
}

export type IgdAction =
  | { readonly name: 'GetExternalIPAddress' }
  | {
      readonly name: 'AddPortMapping' | 'AddAnyPortMapping';
      readonly externalPort: number;
      readonly internalPort: number;
      readonly internalAddress: string;
      /** 0: for ever. */
      readonly leaseSeconds: number;
    }
  | { readonly name: 'DeletePortMapping'; readonly externalPort: number };

export interface SoapRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export function encodeAction(service: IgdService, action: IgdAction): SoapRequest {
  const values = argumentsOf(action)
    .map(([name, value]) => `<${name}>${escapeXml(`${value}`)}</${name}>`)
    .join('');
  const body =
    '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ' +
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>' +
    `<u:${action.name} xmlns:u="${escapeXml(service.type)}">${values}</u:${action.name}>` +
    '</s:Body></s:Envelope>\r\n';
  return {
    headers: {
      'Content-Type': 'text/xml; charset="utf-8"',
      SOAPAction: `"${service.type}#${action.name}"`,
    },
    body,
  };
}

/** In the order of the service's description: some gateways read by position. */
function argumentsOf(action: IgdAction): [string, string | number][] {
  switch (action.name) {
    case 'GetExternalIPAddress':
      return [];
    case 'DeletePortMapping':
      return [
        ['NewRemoteHost', ''],
        ['NewExternalPort', action.externalPort],
        ['NewProtocol', 'UDP'],
      ];
    case 'AddPortMapping':
    case 'AddAnyPortMapping':
      return [
        ['NewRemoteHost', ''],
        ['NewExternalPort', action.externalPort],
        ['NewProtocol', 'UDP'],
        ['NewInternalPort', action.internalPort],
        ['NewInternalClient', action.internalAddress],
        ['NewEnabled', 1],
        ['NewPortMappingDescription', description],
        ['NewLeaseDuration', action.leaseSeconds],
      ];
    default:
      return action satisfies never;
  }
}

export type IgdAnswer =
  | { readonly type: 'done'; readonly address?: string; readonly port?: number }
  | { readonly type: 'fault'; readonly code: number };

/** Undefined when the text answers no such call. */
export function decodeAnswer(xml: string, action: IgdAction['name']): IgdAnswer | undefined {
  const root = parseXml(xml);
  if (root === undefined) return undefined;
  const code = elementsNamed(root, 'errorCode')[0]?.text.trim();
  if (code !== undefined && /^[0-9]{1,4}$/.test(code)) return { type: 'fault', code: Number(code) };
  const response = elementsNamed(root, `${action}Response`)[0];
  if (response === undefined) return undefined;
  if (action === 'GetExternalIPAddress') {
    const address = childText(response, 'NewExternalIPAddress') ?? '';
    return addressBytes(address)?.length === 4 ? { type: 'done', address } : undefined;
  }
  if (action !== 'AddAnyPortMapping') return { type: 'done' };
  const port = Number(childText(response, 'NewReservedPort'));
  return Number.isInteger(port) && port > 0 && port < 65_536 ? { type: 'done', port } : undefined;
}

/** What a fault means, in the words of the service's description. */
export const igdFaults: Readonly<Record<number, string>> = {
  401: 'invalid-action',
  402: 'invalid-arguments',
  501: 'action-failed',
  606: 'not-authorized',
  714: 'no-such-entry',
  715: 'wildcard-not-permitted',
  716: 'wildcard-port-not-permitted',
  718: 'port-taken',
  724: 'same-port-required',
  725: 'only-permanent-leases',
  726: 'remote-host-only-wildcard',
  727: 'external-port-only-wildcard',
  728: 'no-resources',
  729: 'conflict-with-other-mechanism',
};
