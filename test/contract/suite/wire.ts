import { gunzipSync } from 'node:zlib';
import { createPveClient } from '@felhom/proxmox/client.ts';
import { PveError } from '@felhom/proxmox/errors.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RawAnswer } from '../raw-request.ts';
import type { ContractNode, ContractTarget } from '../targets.ts';

/** What a node puts on the wire: the facts on which the client's reading of errors stands. */
export function describeWire(target: ContractTarget): void {
  describe('what stands on the wire', () => {
    let node: ContractNode;
    beforeAll(async () => {
      node = await target.open();
    });
    afterAll(() => node.close());

    const json = (answer: RawAnswer): { data?: unknown; message?: string; errors?: Record<string, string> } =>
      JSON.parse(answer.body.toString()) as ReturnType<typeof json>;

    describe('a token', () => {
      it.each([
        ['without one', {}, 'No ticket'],
        ['of another scheme', { authorization: 'Bearer abc' }, 'No ticket'],
        ['without a secret', { authorization: 'PVEAPIToken=root@pam!none' }, 'Authentication failed!'],
        [
          'of nobody',
          { authorization: 'PVEAPIToken=nobody@pam!x=00000000-0000-0000-0000-000000000000' },
          'Authentication failed!',
        ],
      ])('%s is answered 401 with an empty body, and the connection closed', async (_, headers, reason) => {
        const answer = await node.raw({ path: `/api2/json/nodes/${node.pve.node}/lxc`, headers });
        expect([answer.status, answer.reason]).toEqual([401, reason]);
        expect(answer.body.toString()).toBe('');
        expect(answer.headers['content-type']).toBe(undefined);
        expect(answer.headers.connection).toBe('close');
      });

      it('may stand behind a blank and may be URI-escaped', async () => {
        const escaped = node.token.replace('!', '%21').replace('@', '%40');
        const answer = await node.raw({
          path: '/api2/json/version',
          headers: { authorization: `PVEAPIToken ${escaped}` },
        });
        expect(answer.status).toBe(200);
      });

      it('that is wrong is `auth` to the client', async () => {
        const { url, fingerprint, pve } = node;
        const token = 'nobody@pam!x=00000000-0000-0000-0000-000000000000';
        const stranger = createPveClient({ url, token, node: pve.node, tls: { kind: 'fingerprint', fingerprint } });
        await expect(stranger.guests.list()).rejects.toMatchObject({ fault: { kind: 'auth' }, exit: 12 });
        await stranger.close();
      });
    });

    it('shows one certificate, and the client refuses every other', async () => {
      const { url, token, pve } = node;
      const fingerprint = Array.from({ length: 32 }, () => 'AB').join(':');
      const stranger = createPveClient({ url, token, node: pve.node, tls: { kind: 'fingerprint', fingerprint } });
      await expect(stranger.nodes.version()).rejects.toMatchObject({ fault: { kind: 'tls-identity' } });
      await stranger.close();
    });

    it('answers a success in an envelope, with its clock', async () => {
      const answer = await node.api({ path: '/version' });
      expect(answer.status).toBe(200);
      expect(answer.headers['content-type']).toBe('application/json;charset=UTF-8');
      expect(Number.isNaN(Date.parse(answer.headers.date ?? ''))).toBe(false);
      expect(json(answer).data).toMatchObject({
        version: expect.stringMatching(/^\d+\.\d+/),
        release: expect.any(String),
      });
      expect((await node.api({ path: '/version/' })).status).toBe(200);
    });

    it('has no 404 and no 405', async () => {
      const path = `/nodes/${node.pve.node}/nothing`;
      for (const [method, at] of [
        ['GET', path],
        ['DELETE', `/nodes/${node.pve.node}/lxc/${node.guest.vmid}/config`],
      ] as const) {
        const answer = await node.api({ method, path: at });
        expect([answer.status, answer.reason]).toEqual([501, `Method '${method} ${at}' not implemented`]);
      }
      const head = await node.api({ method: 'HEAD', path: '/version' });
      expect([head.status, head.body.length]).toEqual([501, 0]);
    });

    it('puts the first line of an error into the reason phrase, and closes', async () => {
      const answer = await node.api({ path: `/nodes/${node.pve.node}/lxc/999999/config` });
      expect([answer.status, answer.reason]).toEqual([
        500,
        `Configuration file 'nodes/${node.pve.node}/lxc/999999.conf' does not exist`,
      ]);
      expect(answer.headers.connection).toBe('close');
      const { data, message = `${answer.reason}\n` } = json(answer);
      expect([data, message]).toEqual([null, `${answer.reason}\n`]);
    });

    it('names each wrong parameter', async () => {
      const form = { 'content-type': 'application/x-www-form-urlencoded' };
      const none = await node.api({ method: 'POST', path: `/nodes/${node.pve.node}/vzdump`, headers: form, body: '' });
      expect([none.status, none.reason]).toEqual([400, 'Parameter verification failed.']);
      expect(json(none).errors).toEqual({ vmid: 'property is missing' });
      const unknown = await node.api({
        method: 'POST',
        path: `/nodes/${node.pve.node}/vzdump`,
        headers: form,
        body: 'vmid=999999&foo=1',
      });
      expect(json(unknown).errors?.['foo']).toBe(
        'property is not defined in schema and the schema does not allow additional properties',
      );
    });

    it('takes flags as 1 and 0 only, outside of JSON', async () => {
      const path = `/nodes/${node.pve.node}/${node.guest.kind}/${node.guest.vmid}/config`;
      const answer = await node.api({ path: `${path}?current=true` });
      expect(answer.status).toBe(400);
      expect(json(answer).errors?.['current']).toBe("type check ('boolean') failed - got 'true'");
      expect((await node.api({ path: `${path}?current=1` })).status).toBe(200);
    });

    it('refuses chunked requests, other content types and JSON without a body', async () => {
      const path = `/nodes/${node.pve.node}/${node.guest.kind}/${node.guest.vmid}/config`;
      const chunked = await node.api({
        method: 'PUT',
        path,
        headers: { 'transfer-encoding': 'chunked' },
        body: 'cores=1',
      });
      expect([chunked.status, chunked.reason]).toEqual([501, 'chunked transfer encoding not supported']);
      const empty = await node.api({
        method: 'POST',
        path: path.replace('config', 'status/start'),
        headers: { 'content-type': 'application/json', 'content-length': '0' },
      });
      expect(empty.status).toBe(500);
      const xml = await node.api({
        method: 'PUT',
        path,
        headers: { 'content-type': 'text/xml', 'content-length': '4' },
        body: '<a/>',
      });
      expect(xml.status).toBe(506);
    });

    it('sends plain HTTP to HTTPS', async () => {
      const answer = await node.raw({ path: '/api2/json/version', plain: true });
      expect([answer.status, answer.reason]).toEqual([301, 'Moved Permanently']);
      expect(answer.headers.location).toMatch(/^https:\/\//);
    });

    it('compresses what is long, when asked', async () => {
      const path = `/nodes/${node.pve.node}/${node.guest.kind}`;
      const short = await node.api({ path: '/version', headers: { 'accept-encoding': 'gzip' } });
      expect(short.headers['content-encoding']).toBe(undefined);
      const plain = await node.api({ path });
      const answer = await node.api({ path, headers: { 'accept-encoding': 'gzip' } });
      const body = answer.headers['content-encoding'] === 'gzip' ? gunzipSync(answer.body) : answer.body;
      expect(answer.headers['content-encoding'] === 'gzip').toBe(plain.body.length > 1024);
      expect(JSON.parse(body.toString())).toHaveProperty('data');
    });

    it('keeps a connection for call after call', async () => {
      for (let call = 0; call < 30; call += 1) expect((await node.pve.nodes.version()).release).not.toBe('');
    });

    it('tells errors that the client can tell apart', async () => {
      const kindOf = (call: Promise<unknown>): Promise<string> =>
        call.then(
          () => 'success',
          (error: unknown) => (error instanceof PveError ? error.fault.kind : String(error)),
        );
      const nobody = { vmid: 999_999 as typeof node.guest.vmid, kind: node.guest.kind };
      expect(await kindOf(node.pve.guests.config(nobody))).toBe('not-found');
      expect(await kindOf(node.pve.guests.status(nobody))).toBe('not-found');
      expect(await kindOf(node.pve.storage.status('no-such-storage'))).toMatch(/^(?:not-found|permission)$/);
      expect(await kindOf(node.pve.storage.backups('no-such-storage'))).toMatch(/^(?:not-found|permission)$/);
    });
  });
}
