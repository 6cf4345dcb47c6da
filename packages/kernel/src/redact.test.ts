import * as fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { forgetSecrets, redact, registerSecret } from './redact.ts';

afterEach(forgetSecrets);

const token = 'felhom@pve!agent=0a1b2c3d-1111-2222-3333-444455556666';

describe('a registered secret', () => {
  test('is taken out wherever it stands, as often as it does', () => {
    registerSecret('s3cr3t-value');
    expect(redact('a s3cr3t-value b(s3cr3t-value)')).toBe('a [redacted] b([redacted])');
  });

  test('is taken out as it looks in a URL and in JSON too', () => {
    const secret = 'päss "word"/+=';
    registerSecret(secret);
    const url = `https://host/?t=${encodeURIComponent(secret)}`;
    expect(redact(url)).toBe('https://host/?t=[redacted]');
    expect(redact(JSON.stringify({ t: secret }))).toBe('{"t":"[redacted]"}');
  });

  test('that came with a newline from its file is known without it', () => {
    registerSecret('s3cr3t-value\n');
    expect(redact('x=s3cr3t-value')).toBe('x=[redacted]');
  });

  test('of Proxmox VE is known by its secret half alone, not by its name', () => {
    registerSecret(token);
    expect(redact('got 0a1b2c3d-1111-2222-3333-444455556666')).toBe('got [redacted]');
    expect(redact('felhom@pve!agent may not')).toBe('felhom@pve!agent may not');
  });

  test('that is part of a longer one leaves nothing of the longer one', () => {
    registerSecret('abcdef');
    registerSecret('abcdefghijkl');
    expect(redact('abcdefghijkl abcdef')).toBe('[redacted] [redacted]');
  });

  test('with characters that mean something to a pattern is taken as it is', () => {
    registerSecret('a.*+?^${}()|[]\\');
    expect(redact('<a.*+?^${}()|[]\\>')).toBe('<[redacted]>');
  });

  test('of fewer than six characters is not one: it would blank ordinary words', () => {
    registerSecret('stack');
    expect(redact('stack nextcloud')).toBe('stack nextcloud');
  });

  test('never stays, whatever stands around it', () => {
    const around = fc.stringMatching(/^[0-9 .:-]*$/);
    fc.assert(
      fc.property(around, fc.stringMatching(/^[A-Za-z]{6,40}$/), around, (before, secret, after) => {
        fc.pre(!'redacted'.includes(secret));
        forgetSecrets();
        registerSecret(secret);
        expect(redact(`${before}${secret}${after}`)).toBe(`${before}[redacted]${after}`);
      }),
    );
  });
});

describe('an authorization header', () => {
  test.each([
    [`Authorization: PVEAPIToken=${token}`, 'Authorization: PVEAPIToken=felhom@pve!agent=[redacted]'],
    [`authorization: pveapitoken ${token}`, 'authorization: pveapitoken felhom@pve!agent=[redacted]'],
    ['Authorization: Bearer abc.def-ghi', 'Authorization: Bearer [redacted]'],
    ['{"authorization":"bearer abc"}', '{"authorization":"bearer [redacted]"}'],
  ])('is taken out even if nobody registered it: %s', (text, clean) => {
    expect(redact(text)).toBe(clean);
  });
});

test('a text without secrets is left alone', () => {
  registerSecret('s3cr3t-value');
  expect(redact('guest 101 docker1: app-consistent backup on pbs')).toBe(
    'guest 101 docker1: app-consistent backup on pbs',
  );
});
