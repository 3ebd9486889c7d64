/**
 * `roundPrice` and `roundVolume` of src/model/adjustment.ts as SQL of doubles: the same bits come
 * out, so that what the database adjusts equals what this program does. `power` is exact up to
 * 10^22, and where `log` of two libraries differs the price is next to a power of ten, which it
 * becomes either way.
 */
export function roundedPrice(price: string): string {
  const scale = `power(10::float8, 9 - floor(log(abs(${price}))))`;
  return (
    `case when ${price} = 0 or ${price} - ${price} <> 0 then ${price} ` +
    `else floor(${price} * ${scale} + 0.5::float8) / ${scale} end`
  );
}

/** From 2^52 on a double has no fraction. */
const WHOLE = '4503599627370496::float8';

export function roundedVolume(volume: string): string {
  return (
    `case when abs(${volume}) < 1e9::float8 ` +
    `then floor(${volume} * 1e6::float8 + 0.5::float8) / 1e6::float8 ` +
    `when abs(${volume}) < ${WHOLE} then floor(${volume} + 0.5::float8) else ${volume} end`
  );
}
