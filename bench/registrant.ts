import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';

const md5 = (s: string): string => createHash('md5').update(s).digest('hex');

/** Registers one contact by digest from a socket of its own, then closes it so that SIPp can take the port. */
export async function registerOnce(o: {
  user: string;
  domain: string;
  password: string;
  from: { address: string; port: number };
  to: { address: string; port: number };
}): Promise<void> {
  const socket = createSocket('udp4');
  await new Promise<void>(resolve => socket.bind(o.from.port, o.from.address, resolve));
  try {
    const ask = (cseq: number, authorization: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('the registrar does not answer')), 5000);
        socket.once('message', m => {
          clearTimeout(timer);
          resolve(m.toString('latin1'));
        });
        const uri = `sip:${o.domain}`;
        socket.send(
          `REGISTER ${uri} SIP/2.0\r\nVia: SIP/2.0/UDP ${o.from.address}:${o.from.port};branch=z9hG4bKreg${cseq};rport\r\nMax-Forwards: 70\r\n` +
            `From: <sip:${o.user}@${o.domain}>;tag=bench\r\nTo: <sip:${o.user}@${o.domain}>\r\nCall-ID: bench-${o.user}\r\nCSeq: ${cseq} REGISTER\r\n` +
            `Contact: <sip:${o.user}@${o.from.address}:${o.from.port}>\r\nExpires: 3600\r\n${authorization}Content-Length: 0\r\n\r\n`,
          o.to.port,
          o.to.address,
        );
      });
    const challenge = await ask(1, '');
    const md5Line =
      challenge.split('\r\n').find(l => /^WWW-Authenticate:/i.test(l) && !/algorithm="?SHA/i.test(l)) ?? '';
    const realm = /realm="([^"]*)"/.exec(md5Line)?.[1] ?? '';
    const nonce = /nonce="([^"]*)"/.exec(md5Line)?.[1] ?? '';
    const uri = `sip:${o.domain}`;
    const response = md5(
      `${md5(`${o.user}:${realm}:${o.password}`)}:${nonce}:00000001:c0ffee:auth:${md5(`REGISTER:${uri}`)}`,
    );
    const reply = await ask(
      2,
      `Authorization: Digest username="${o.user}",realm="${realm}",nonce="${nonce}",uri="${uri}",response="${response}",algorithm=MD5,qop=auth,nc=00000001,cnonce="c0ffee"\r\n`,
    );
    if (!reply.startsWith('SIP/2.0 200')) throw new Error(`REGISTER was refused: ${reply.split('\r\n')[0]}`);
  } finally {
    await new Promise<void>(resolve => socket.close(resolve));
  }
}
