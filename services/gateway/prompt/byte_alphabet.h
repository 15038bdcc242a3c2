// The byte alphabet of byte-level vocabularies: each of the 256 bytes is written as one printable
// character.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_BYTE_ALPHABET_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_BYTE_ALPHABET_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace tessera::prompt {

// The byte's character, in UTF-8.
std::string ByteAlphabetCharacter(uint8_t byte);

// The bytes that a vocabulary entry stands for; an entry with a character outside of the alphabet
// stands for itself.
std::string BytesOfVocabularyEntry(std::string_view entry);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_BYTE_ALPHABET_H_
