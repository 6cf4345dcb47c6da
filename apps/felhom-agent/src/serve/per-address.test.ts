import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { limitPerAddress, placeOf } from './per-address.ts';

let server: Server;
const sockets: Socket[] = [];
beforeEach(async () => {
  server = createServer();
  limitPerAddress(server, 3);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server.close();
});

/** Whether the server keeps it: what it keeps hears the greeting. */
async function call(from: string): Promise<boolean> {
  const { port } = server.address() as AddressInfo;
  const kept = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const socket = connect({ port, host: '127.0.0.1', localAddress: from });
  sockets.push(socket);
  const answer = new Promise<boolean>((resolve) => {
    socket.once('data', () => resolve(true));
    socket.once('close', () => resolve(false));
    socket.once('error', () => resolve(false));
  });
  const other = await kept;
  if (!other.destroyed) other.write('hello');
  return await answer;
}

it('one address holds so many connections and no more, and keeps no other address out', async () => {
  for (let count = 0; count < 3; count += 1) expect(await call('127.0.0.1')).toBe(true);
  expect(await call('127.0.0.1')).toBe(false);
  expect(await call('127.0.0.2')).toBe(true);
});

it('what is closed makes room again', async () => {
  const accepted: Socket[] = [];
  server.on('connection', (socket: Socket) => accepted.push(socket));
  for (let count = 0; count < 3; count += 1) expect(await call('127.0.0.1')).toBe(true);
  const closed = new Promise((resolve) => accepted[0]?.once('close', resolve));
  sockets[0]?.destroy();
  await closed;
  expect(await call('127.0.0.1')).toBe(true);
});

it.each([
  ['10.0.3.7', '10.0.3.7'],
  ['::ffff:10.0.3.7', '10.0.3.7'],
  ['fd00:1:2:3:aaaa:bbbb:cccc:dddd', 'fd00:1:2:3::/64'],
  ['fd00:1:2:3::9', 'fd00:1:2:3::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
])('%s counts for %s', (address, place) => {
  expect(placeOf(address)).toBe(place);
});
