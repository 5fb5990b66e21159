import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decodeAnswer, decodeDescription, encodeAction } from './igd.ts';
import {
  decodeSearchAnswer,
  encodeSearch,
  parseHttpTarget,
  searchTargets,
  ssdpGroup,
} from './ssdp.ts';
import { parseXml } from './xml.ts';

const at = { address: '192.168.1.1', port: 5000, path: '/rootDesc.xml' };
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const answer = (...lines: string[]) =>
  decodeSearchAnswer(new TextEncoder().encode(`${lines.join('\r\n')}\r\n\r\n`));

describe('SSDP', () => {
  test('a search is what the architecture prescribes', () => {
    assert.equal(
      text(encodeSearch(searchTargets.gateway1, ssdpGroup)),
      'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\n' +
        'ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n',
    );
  });

  test('an answer says where the device is described, whatever the case of its headers', () => {
    const found = answer(
      ...['HTTP/1.1 200 OK', 'location:http://192.168.1.1:5000/rootDesc.xml'],
      ...['SERVER:  Router\x07/1.0 UPnP/1.1 ', 'Location: http://10.0.0.1/', 'EXT:'],
    );
    assert.deepEqual(found, { location: at, server: 'Router/1.0 UPnP/1.1' });
  });

  test('what is no answer is refused', () => {
    const location = 'LOCATION: http://192.168.1.1:5000/rootDesc.xml';
    assert.equal(answer('NOTIFY * HTTP/1.1', location), undefined);
    assert.equal(answer('M-SEARCH * HTTP/1.1', location), undefined);
    assert.equal(answer('HTTP/1.1 404 Not Found', location), undefined);
    assert.equal(answer('HTTP/1.1 200 OK', 'ST: upnp:rootdevice'), undefined);
    assert.equal(answer('HTTP/1.1 200 OK', 'LOCATION: http://router.lan/'), undefined);
    assert.equal(answer('HTTP/1.1 200 OK', location, `X: ${'x'.repeat(2048)}`), undefined);
    assert.equal(decodeSearchAnswer(new Uint8Array()), undefined);
  });

  test('only HTTP to an IPv4 address is a place to go to', () => {
    const bad = ['', 'https://192.168.1.1/', 'http://router/', 'http://user@192.168.1.1/', '//x/y'];
    bad.push('http://192.168.1.1:0/', 'http://192.168.1.1:65536/', 'http://192.168.1.999/');
    bad.push(
      'http://[fe80::1]/',
      'file:///etc/passwd',
      'http://192.168.1.1/a b',
      'http://1.2.3.4/\r\nX',
    );
    bad.push(
      `http://192.168.1.1/${'a'.repeat(512)}`,
      'http://192.168.1.1?x',
      'http://192.168.1.1:80:90/',
    );
    for (const place of bad) assert.equal(parseHttpTarget(place), undefined, place);
    assert.deepEqual(parseHttpTarget('http://192.168.1.1'), { ...at, port: 80, path: '/' });
    const inBase = (place: string) => parseHttpTarget(place, { ...at, path: '/a/b.xml?c/d' });
    assert.equal(inBase('/ctl?x=1&y')?.path, '/ctl?x=1&y');
    assert.equal(inBase('ctl')?.path, '/a/ctl');
    assert.equal(inBase('http://10.0.0.1/ctl')?.address, '10.0.0.1');
    for (const place of ['//10.0.0.1/x', 'javascript:1', 'a b', '/\n']) {
      assert.equal(inBase(place), undefined, place);
    }
  });
});

const service = (type: string, control: string) =>
  `<service><serviceType>urn:schemas-upnp-org:service:${type}</serviceType>
   <controlURL>${control}</controlURL></service>`;
const device = (services: string, more = '') =>
  `<?xml version="1.0"?>\n<root xmlns="urn:schemas-upnp-org:device-1-0">${more}<device>
   <manufacturer>Acme &amp; Co</manufacturer><modelName>R7</modelName><deviceList><device>
   <serviceList>${services}</serviceList></device></deviceList></device></root>`;

describe('a device description', () => {
  test('names the services that map ports, the newest first', () => {
    const services = [
      service('WANPPPConnection:1', '/ctl/PPP'),
      service('WANIPConnection:1', '/ctl/IP1'),
      service('WANCommonInterfaceConfig:1', '/ctl/Common'),
      service('WANIPConnection:2', 'http://192.168.1.1:5001/ctl/IP2'),
    ];
    const found = decodeDescription(device(services.join('')), at);
    assert.equal(found?.product, 'Acme & Co R7');
    assert.deepEqual(
      found?.services.map(({ control, choosesPort }) => [control.port, control.path, choosesPort]),
      [
        [5001, '/ctl/IP2', true],
        [5000, '/ctl/IP1', false],
        [5000, '/ctl/PPP', false],
      ],
    );
  });

  test('may have a URLBase, but not one on another machine', () => {
    const services = service('WANIPConnection:1', 'ctl');
    const base = (url: string) =>
      decodeDescription(device(services, `<URLBase>${url}</URLBase>`), at)?.services[0]?.control;
    assert.deepEqual(base('http://192.168.1.1:80/igd/'), { ...at, port: 80, path: '/igd/ctl' });
    assert.deepEqual(base('http://198.51.100.7/igd/'), { ...at, path: '/ctl' });
  });

  test('never sends anybody to another machine', () => {
    const control = 'http://198.51.100.7/ctl';
    const found = decodeDescription(device(service('WANIPConnection:1', control)), at);
    assert.deepEqual(found?.services, []);
  });

  test('names at most four services', () => {
    const many = service('WANIPConnection:1', '/ctl').repeat(50);
    assert.equal(decodeDescription(device(many), at)?.services.length, 4);
  });
});

describe('SOAP', () => {
  const wan = {
    type: 'urn:schemas-upnp-org:service:WANIPConnection:1',
    control: { ...at, path: '/ctl' },
    choosesPort: false,
  };

  test('AddPortMapping has all its arguments in the order of the specification', () => {
    const { headers, body } = encodeAction(wan, {
      ...{ name: 'AddPortMapping', externalPort: 41657, internalPort: 41658 },
      ...{ internalAddress: '192.168.1.10', leaseSeconds: 3600 },
    });
    assert.equal(headers.SOAPAction, `"${wan.type}#AddPortMapping"`);
    assert.match(
      body,
      /<s:Body><u:AddPortMapping xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1"><NewRemoteHost><\/NewRemoteHost><NewExternalPort>41657<\/NewExternalPort><NewProtocol>UDP<\/NewProtocol><NewInternalPort>41658<\/NewInternalPort><NewInternalClient>192.168.1.10<\/NewInternalClient><NewEnabled>1<\/NewEnabled><NewPortMappingDescription>Buri<\/NewPortMappingDescription><NewLeaseDuration>3600<\/NewLeaseDuration><\/u:AddPortMapping><\/s:Body>/,
    );
  });

  test('answers are read by name, with any prefix', () => {
    const envelope = (inside: string) =>
      `<SOAP:Envelope><SOAP:Body>${inside}</SOAP:Body></SOAP:Envelope>`;
    const external = (address: string) =>
      decodeAnswer(
        envelope(
          `<m:GetExternalIPAddressResponse xmlns:m="x"><NewExternalIPAddress>${address}</NewExternalIPAddress></m:GetExternalIPAddressResponse>`,
        ),
        'GetExternalIPAddress',
      );
    assert.deepEqual(external('203.0.113.10'), { type: 'done', address: '203.0.113.10' });
    for (const bad of ['', 'x', '203.0.113.1000', '2001:db8::1']) {
      assert.equal(external(bad), undefined, bad);
    }
    const added = (port: string) =>
      decodeAnswer(
        envelope(
          `<u:AddAnyPortMappingResponse><NewReservedPort>${port}</NewReservedPort></u:AddAnyPortMappingResponse>`,
        ),
        'AddAnyPortMapping',
      );
    assert.deepEqual(added('41700'), { type: 'done', port: 41_700 });
    for (const bad of ['', '0', '65536', '1.5', 'x']) assert.equal(added(bad), undefined, bad);
    assert.deepEqual(decodeAnswer(envelope('<AddPortMappingResponse/>'), 'AddPortMapping'), {
      type: 'done',
    });
    assert.equal(decodeAnswer(envelope('<Other/>'), 'AddPortMapping'), undefined);
    assert.equal(decodeAnswer('<html>login</html>', 'AddPortMapping'), undefined);
  });

  test('a fault is its code', () => {
    const fault = `<s:Envelope><s:Body><s:Fault><faultcode>s:Client</faultcode><detail>
      <UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>718</errorCode></UPnPError>
      </detail></s:Fault></s:Body></s:Envelope>`;
    assert.deepEqual(decodeAnswer(fault, 'AddPortMapping'), { type: 'fault', code: 718 });
    assert.equal(decodeAnswer(fault.replace('718', '99999'), 'AddPortMapping'), undefined);
  });
});

describe('XML of a gateway', () => {
  test('may have errors that harm nobody', () => {
    const root = parseXml(
      '\n <?xml version="1.0"?><a><b:c>x &amp; y?p=1&q=2</b:c><![CDATA[z]]></a>',
    );
    assert.equal(root?.children[0]?.name, 'c');
    assert.match(root?.children[0]?.text ?? '', /^x & y\?p=1&q=2$/);
    assert.equal(root?.text, 'z');
  });

  test('has no document type, so no entities of its own', () => {
    const bomb = `<!DOCTYPE a [<!ENTITY b "${'x'.repeat(100)}"><!ENTITY c "&b;&b;">]><a>&c;</a>`;
    assert.equal(parseXml(bomb), undefined);
    assert.equal(parseXml('<!DOCTYPE a SYSTEM "http://192.0.2.1/x"><a/>'), undefined);
  });

  test('is bounded in depth and number of elements', () => {
    assert.equal(parseXml('<a>'.repeat(100) + '</a>'.repeat(100)), undefined);
    assert.equal(parseXml(`<a>${'<b/>'.repeat(5000)}</a>`), undefined);
  });

  test('that is none comes out as nothing', () => {
    for (const text of ['', 'plain', '<a', '<a><b></a>', '\0', '<'.repeat(5000)]) {
      const root = parseXml(text);
      assert.ok(root === undefined || root.children.length <= 1, text.slice(0, 20));
    }
  });
});
