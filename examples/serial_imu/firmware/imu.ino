// An MPU-6050 on an Arduino: one line of JSON a hundred times a second. A line {"led":[1]} from the
// dataflow switches the LED. Needs no library beside Wire; other sensors send lines of the same form.
#include <Wire.h>

const uint8_t MPU = 0x68;
const float ACCEL = 9.81f / 16384.0f;             // m/s^2 a step, at +-2 g
const float GYRO = 0.0174532925f / 131.0f;        // rad/s a step, at +-250 degrees a second
String command;

void setup() {
  Serial.begin(115200);
  pinMode(LED_BUILTIN, OUTPUT);
  Wire.begin();
  Wire.beginTransmission(MPU);
  Wire.write(0x6B);                               // power management: wake up
  Wire.write(0);
  Wire.endTransmission();
}

float readNumber() {
  const uint8_t high = Wire.read(), low = Wire.read();
  return (int16_t)((high << 8) | low);
}

void printThree(const char *name, float scale) {
  Serial.print(name);
  for (int i = 0; i < 3; i++) {
    if (i) Serial.print(',');
    Serial.print(readNumber() * scale, 4);
  }
}

void loop() {
  static uint32_t next = 0;
  if ((int32_t)(millis() - next) >= 0) {
    next = millis() + 10;
    Wire.beginTransmission(MPU);
    Wire.write(0x3B);                             // accel, temperature, gyro: 14 bytes
    Wire.endTransmission(false);
    Wire.requestFrom(MPU, (uint8_t)14);
    printThree("{\"accel\":[", ACCEL);
    readNumber();                                 // temperature
    printThree("],\"gyro\":[", GYRO);
    Serial.println("]}");
  }
  while (Serial.available()) {
    const char letter = Serial.read();
    if (letter == '\n') {
      digitalWrite(LED_BUILTIN, command.indexOf("[1]") >= 0);
      command = "";
    } else if (command.length() < 64) {
      command += letter;
    }
  }
}
