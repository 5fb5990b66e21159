/** From facts to what is wrong, on which side, and what to do: pure. */
import type { Check, DoctorFacts, PeerFacts } from './facts.ts';

const clockWarningMs = 60_000;
const clockProblemMs = 5 * 60_000;
/** A full packet of the tunnel in one piece: 1,400 bytes and 60 of headers. */
const wholePacketBytes = 1460;
const innerMtuBytes = 1400;

export const judge = (facts: DoctorFacts): Check[] => [
  serverCheck(facts),
  ...nameCheck(facts),
  clockCheck(facts),
  deviceCheck(facts),
  ...routeChecks(facts),
  ...firewallChecks(facts),
  udpCheck(facts),
  ...relayCheck(facts),
  mtuCheck(facts),
  ...facts.peers.flatMap(peerChecks),
];

const ok = (id: string, title: string): Check => ({ id, status: 'ok', side: 'here', title });

function serverCheck({ server, loggedIn }: DoctorFacts): Check {
  const { url, connected, error, proxy } = server;
  if (url === undefined || !loggedIn) {
    return {
      ...{ id: 'server', status: 'problem', side: 'here', title: 'this computer is not logged in' },
      todo: 'buri login URL, with what `buri server url` prints on the server',
    };
  }
  const through = proxy === undefined ? '' : ` through the proxy ${proxy}`;
  if (connected) return ok('server', `connected to the server at ${url}${through}`);
  const code = error?.code ?? '';
  const title = error?.message ?? `no connection to the server at ${url} yet`;
  const [side, todo] = serverAdvice(code);
  return { id: 'server', status: 'problem', side, title, todo };
}

function serverAdvice(code: string): [Check['side'], string] {
  if (code === 'proxy-authentication') {
    return ['here', "give the proxy's user and password: --proxy or BURI_PROXY"];
  }
  if (code.startsWith('proxy-')) {
    return [
      'network',
      'check the proxy (--proxy, BURI_PROXY, https_proxy); --proxy none goes without',
    ];
  }
  switch (code) {
    case 'server-certificate-invalid':
    case 'server-key-mismatch':
      return [
        'server',
        'check the clock of this computer first; else ask the operator of the server',
      ];
    case 'not-a-buri-server':
    case 'version-unsupported':
      return ['server', 'check address and port of the URL, and update Buri on both sides'];
    case 'identity-in-use':
      return [
        'here',
        'another computer runs with a copy of this state directory: give one a new one',
      ];
    case 'server-unreachable':
    case 'login-timeout':
    case 'connection-lost':
    case '':
      return [
        'server',
        'is the server running, and its TCP port open? Do other members reach it? If they do, this network blocks ' +
          'the port: let the server listen on 443 too, or use --proxy. Tunnels that exist go on',
      ];
    default:
      return ['server', 'see `buri status`; ask the operator of the server'];
  }
}

function nameCheck({ server: { resolves, url } }: DoctorFacts): Check[] {
  if (resolves === undefined) return [];
  if (resolves) return [ok('dns', "the server's name has an address")];
  return [
    {
      ...{ id: 'dns', status: 'problem', side: 'network' },
      title: `the name of the server at ${url} cannot be looked up`,
      todo: "check the name in the URL and this computer's DNS (resolvectl status, /etc/resolv.conf)",
    },
  ];
}

function clockCheck({ clockAheadMs: ahead }: DoctorFacts): Check {
  if (ahead === undefined) {
    return {
      ...{ id: 'clock', status: 'unknown', side: 'here' },
      title: 'the clock was not compared: no server has been heard since the start',
    };
  }
  const off = Math.abs(ahead);
  if (off < clockWarningMs) return ok('clock', 'the clock agrees with that of the server');
  const title = `the clock is ${duration(off)} ${ahead > 0 ? 'ahead of' : 'behind'} the server's`;
  return {
    ...{ id: 'clock', status: off < clockProblemMs ? 'warning' : 'problem', side: 'here', title },
    todo: 'set the clock (timedatectl set-ntp true); certificates and memberships are judged by it',
  };
}

function deviceCheck({ device }: DoctorFacts): Check {
  const { name, wanted, exists, ipv4, addresses, trouble } = device;
  const problem = (title: string, todo: string): Check => ({
    ...{ id: 'device', status: 'problem', side: 'here', title, todo },
  });
  if (trouble[0] !== undefined)
    return problem(trouble[0], 'see `buri status` and the log of the daemon');
  if (!wanted)
    return {
      id: 'device',
      status: 'unknown',
      side: 'here',
      title: 'no interface before the first login',
    };
  if (!exists)
    return problem(`the interface ${name} is not there`, 'restart the daemon; its log says more');
  if (ipv4 !== undefined && !addresses.includes(ipv4)) {
    const todo =
      'some program took it away (NetworkManager?): leave the interface alone there, restart the daemon';
    return problem(`the interface ${name} has lost its address ${ipv4}`, todo);
  }
  return ok('device', `the interface ${name} is up with ${ipv4}`);
}

function routeChecks({ poolRoute, overlap, device }: DoctorFacts): Check[] {
  if (overlap !== undefined) {
    return [
      {
        ...{ id: 'routes', status: 'problem', side: 'here' },
        title: `the server's address pool ${overlap.pool} overlaps the local route ${overlap.route}`,
        todo: 'remove that route, or let the operator choose another pool (--pool4)',
      },
    ];
  }
  if (poolRoute === undefined || !device.exists) return [];
  if (poolRoute.dev === device.name) return [ok('routes', `members are routed to ${device.name}`)];
  return [
    {
      ...{ id: 'routes', status: 'problem', side: 'here' },
      title: `packets to members go elsewhere: ${poolRoute.text}`,
      todo: 'another VPN or policy rule takes them (ip rule, ip route get): take the pool out there',
    },
  ];
}

function firewallChecks({ firewall, device, port }: DoctorFacts): Check[] {
  const { unread, ping, tcp, udp } = firewall;
  if (unread !== undefined) {
    const title = `the firewall of this computer was not looked at: ${unread}`;
    return [{ id: 'firewall', status: 'unknown', side: 'here', title }];
  }
  const inside = [ping, tcp].find((one) => one?.verdict === 'drops');
  const doubt = [ping, tcp].find((one) => one?.verdict === 'unknown');
  const checks: Check[] = [];
  if (inside !== undefined) {
    const what =
      ping?.verdict !== 'drops' ? 'connections' : tcp?.verdict !== 'drops' ? 'pings' : 'everything';
    checks.push({
      ...{ id: 'firewall', status: 'problem', side: 'here' },
      title: `the firewall of this computer drops ${what} that members send to ${device.name} (chain ${inside.by})`,
      detail: 'Tunnels and NAT have nothing to do with it, and no port forwarding repairs it.',
      todo: `let in what members may reach: a rule that accepts iifname "${device.name}" in that chain; ufw allow in on ${device.name}; firewall-cmd --zone=trusted --add-interface=${device.name}`,
    });
  } else if (doubt !== undefined) {
    const title = `whether the firewall lets members in on ${device.name} depends on rules that are not understood here (chain ${doubt.by})`;
    checks.push({ id: 'firewall', status: 'unknown', side: 'here', title });
  } else if (ping !== undefined) {
    checks.push(ok('firewall', `the firewall lets in what members send to ${device.name}`));
  }
  if (udp?.verdict === 'drops') {
    checks.push({
      ...{ id: 'firewall-udp', status: 'warning', side: 'here' },
      title: `the firewall of this computer drops unasked UDP to port ${port} (chain ${udp.by})`,
      detail:
        'Tunnels still open from both sides at once, but with members behind harder NATs they may not.',
      todo: `let it in: a rule that accepts udp dport ${port} in that chain; ufw allow ${port}/udp; firewall-cmd --add-port=${port}/udp`,
    });
  } else if (udp?.verdict === 'accepts') {
    checks.push(ok('firewall-udp', `the firewall lets in UDP to port ${port}`));
  }
  return checks;
}

function udpCheck({ nat, server }: DoctorFacts): Check {
  const { mapping, filtering, publicEndpoints, asked } = nat;
  if (publicEndpoints > 0) {
    const kind = mapping === 'none' ? 'no NAT' : `NAT mapping ${mapping}, filtering ${filtering}`;
    return ok('udp', `UDP passes: ${kind}`);
  }
  if (!server.connected || !asked) {
    const title = 'whether UDP passes is not known without a server';
    return { id: 'udp', status: 'unknown', side: 'network', title };
  }
  return {
    ...{ id: 'udp', status: 'problem', side: 'network' },
    title: 'UDP is blocked, or the STUN ports of the server are not open: no answer came',
    detail: 'Without UDP there are no direct tunnels; members are reached by relays over TCP only.',
    todo:
      'if other members have no such trouble: let UDP out of this network (router, company firewall). If they have: ' +
      'open 3478/udp and 3479/udp of the server',
  };
}

function relayCheck({ relays }: DoctorFacts): Check[] {
  if (relays.length === 0) return [];
  const working = relays.filter(({ transport }) => transport !== undefined);
  const ways = working.map(
    ({ relay, transport }) => `${relay} by ${transport === 'tcp' ? 'TCP' : 'UDP'}`,
  );
  if (working.length > 0) return [ok('relay', `a relay is ready: ${ways.join(', ')}`)];
  const why = relays.find(({ error }) => error !== undefined)?.error;
  return [
    {
      ...{ id: 'relay', status: 'warning', side: 'network' },
      title: `no relay answers${why === undefined ? '' : `: ${why}`}`,
      detail: 'Members to whom no direct path exists are not reached.',
      todo: "are the relay's UDP port and its TCP port open, on its side and out of this network?",
    },
  ];
}

function mtuCheck({ uplinkMtuBytes: mtu, peers }: DoctorFacts): Check {
  const narrow = peers.filter(({ mtuBytes }) => mtuBytes !== undefined && mtuBytes < innerMtuBytes);
  if (mtu !== undefined && mtu < wholePacketBytes) {
    return {
      ...{ id: 'mtu', status: 'warning', side: 'here' },
      title: `the interface to the Internet carries ${mtu} bytes only: packets of a tunnel are cut`,
      detail: 'It works, and TCP adapts; it costs some speed.',
      todo: `where the line allows more, raise its MTU (${wholePacketBytes} suffice)`,
    };
  }
  if (narrow.length > 0) {
    const names = narrow.map(({ nick, mtuBytes }) => `${nick} (${mtuBytes} bytes)`).join(', ');
    const title = `big packets do not pass in one piece to ${names}; they are cut`;
    return { id: 'mtu', status: 'ok', side: 'network', title };
  }
  return ok('mtu', 'packets of the tunnel pass in one piece, as far as is known');
}

function peerChecks(peer: PeerFacts): Check[] {
  const { clientId, nick, kind, reason, inbound } = peer;
  const about = { id: 'peer', peer: clientId, side: 'peer' } as const;
  if (kind === 'none') return [];
  if (kind === 'unreachable' || kind === 'establishing') {
    return [
      {
        ...{ ...about, side: 'network', status: kind === 'unreachable' ? 'problem' : 'warning' },
        title: `${nick} is ${kind === 'unreachable' ? 'not reached' : 'not reached yet'}: ${reason ?? 'no path'}`,
        todo: 'buri doctor there as well; a UDP port forwarded on one side (--port) or a relay helps',
      },
    ];
  }
  const checks: Check[] = [];
  if (kind === 'relayed') {
    checks.push({
      ...{ ...about, side: 'network', status: 'warning' },
      title: `${nick} is reached by a relay${peer.transport === 'tcp' ? ' over TCP' : ''}: ${reason ?? 'no direct path yet'}`,
      todo: 'a UDP port forwarded on one side (--port), port mapping of the router (UPnP, PCP) or IPv6 allows a direct path',
    });
  }
  if (inbound === 'closed') {
    checks.push({
      ...{ ...about, status: 'problem' },
      title: `${nick} has closed ports: the tunnel works, but that computer answers nothing that comes in through it`,
      detail: 'Neither NAT nor this computer is the cause, and no port forwarding repairs it.',
      todo: `on ${nick}'s computer: buri doctor; its firewall must let in what comes through Buri's interface`,
    });
  } else if (kind === 'direct') {
    const how = inbound === 'open' ? ', and its computer answers' : '';
    checks.push({ ...about, status: 'ok', title: `${nick} is reached directly${how}` });
  }
  return checks;
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} minutes`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} hours`;
  return `${Math.round(seconds / 86_400)} days`;
}
