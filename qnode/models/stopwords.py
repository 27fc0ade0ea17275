"""Words that say little by themselves, by language: articles, pronouns, prepositions, conjunctions, auxiliaries.

The lists are part of what a text index holds: a word that is added or taken away needs new indexes. They are kept short; a word
that some text may be about (names, numbers beyond the smallest, nouns) does not belong here. Words stand as the tokenizers
give them: in lower case, and contractions in their pieces too.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_LISTS = {
    "arabic": """
        في من على إلى الى عن مع هذا هذه ذلك تلك هؤلاء أولئك التي الذي الذين اللذان اللتان اللواتي هو هي هم هن هما أنا انا أنت انت
        أنتم نحن كان كانت كانوا يكون تكون كن ليس ليست لم لن لا ما ماذا لماذا متى أين اين كيف كم أي اي أو او أم ام ثم بل لكن
        لكنه إن ان أن أنه انه أنها انها إذا اذا إذ لو لولا حتى قد لقد سوف كل كلا بعض غير سوى عند عندما لدى منذ بين قبل بعد فوق تحت
        حول خلال دون ضد نحو به بها بهم له لها لهم لنا لي لك منه منها منهم فيه فيها فيهم عليه عليها عليهم إليه إليها عنه عنها
        هنا هناك حيث كما مثل ذات ذو يا و ف ب ل ك
    """,
    "azerbaijani": """
        və ilə ki də da ya yaxud amma ancaq lakin çünki əgər isə üçün kimi qədər görə sonra əvvəl bu o onlar biz siz mən sən
        mənim sənin onun bizim sizin onların bunu onu məni səni bizi sizi onları mənə sənə ona bizə sizə onlara bunun buna
        bir hər heç hansı nə kim niyə necə harada haçan idi imiş olan olaraq oldu olub olsa var yox deyil daha ən çox az bəzi
        bütün öz belə elə artıq yalnız hətta bəlkə hə yəni orada burada
    """,
    "basque": """
        al anitz arabera asko baina bat batean batek bati batzuei batzuek batzuetan batzuk bera beraiek berau berauek bere
        berori berriz beste bezala da dago dira ditu du dute edo egin ere eta eurak ez gainera gu gutxi guzti haiei haiek
        haietan hainbeste hala han handik hango hara hari hark hartan hau hauei hauek hauetan hemen hemendik hemengo hi hona
        honek honela honetan honi hor hori horiei horiek horietan horko horra horrek horrela horretan horri hortik hura izan
        ni noiz nola non nondik nongo nor nora ze zein zen zenbait zenbat zer zergatik ziren zituen zu zuek zuen zuten
    """,
    "bengali": """
        এই এবং ও ওই সে সেই তা তার তারা তাদের তাকে তুমি তোমার তোমাকে আমি আমার আমাকে আমরা আমাদের আপনি আপনার আপনাকে আপনারা এটা এটি
        সেটা সেটি যে যা যার যারা যাদের যাকে কে কি কী কেন কোন কোথায় কখন কিভাবে কীভাবে কত কিন্তু বা অথবা যদি তবে তাই কারণ জন্য থেকে
        মধ্যে উপর উপরে নিচে সাথে সঙ্গে দিয়ে দ্বারা পর্যন্ত পরে আগে হয় হয়ে হয়েছে হবে হতে ছিল ছিলেন আছে আছেন নেই না নয় করে করা করেন করতে
        করার খুব আরো আরও সব সকল কিছু এক একটি একটা এখানে সেখানে এখন তখন যখন আবার শুধু মাত্র ই তো প্রতি
    """,
    "catalan": """
        a al als amb aquest aquesta aquestes aquests aquell aquella aquelles aquells això allò com cada d de del dels des
        e el ella elles ells els em en ens entre era eren eres es és et fins ha han has he hem heu hi ho i jo l la les li
        llavors m ma mateix mateixa meu meva meus meves molt molta molts moltes n ni no nosaltres nostre nostra o on pel
        pels per però perquè poc què quan quant que qual quals qui s sa se sense ser seu seva seus seves si sí sóc són
        sobre sota t ta també tan tant te teu teva teus teves tot tota tots totes tu un una unes uns us va van vosaltres
        vostre vostra ja més hem estar està estan
    """,
    "chinese": """
        的 了 和 是 在 我 你 他 她 它 我们 你们 他们 她们 它们 这 那 这个 那个 这些 那些 这里 那里 哪 哪里 谁 什么 怎么 为什么 怎样 多少 几 也
        都 就 而 及 与 或 或者 但 但是 不 没 没有 不是 有 要 会 能 可以 可 把 被 让 给 对 对于 从 到 向 往 于 由 以 因 因为 所以 如果 虽然 而且
        并 并且 则 且 若 之 其 其他 此 某 每 各 等 着 过 吗 呢 吧 啊 呀 哦 嘛 得 地 很 太 更 最 又 再 还 还是 只 才 已 已经 将 正在 上 下 里 中
        一 一个 个 自己 这样 那样 这么 那么 关于 按照 根据 通过 之后 之前 以后 以前 当
    """,
    "danish": """
        ad af alle alt anden at blev blive bliver da de dem den denne der deres det dette dig din dine disse dit dog du efter
        eller en end er et for fordi fra før ham han hans har havde have hende hendes her hos hun hvad hvem hvilken hvis hvor
        hvordan hvorfor hvornår i ikke ind jeg jer jeres jo kan kunne man mange med meget men mig min mine mit mod må ned
        noget nogle nu når og også om op os over på selv sig sin sine sit skal skulle som sådan thi til ud under var vi vil
        ville vor være været
    """,
    "dutch": """
        aan al alles als altijd andere ben bij daar dan dat de der deze die dit doch doen door dus een eens en er ge geen
        geweest haar had heb hebben heeft hem het hier hij hoe hun iemand iets ik in is ja je jij jullie kan kon kunnen maar
        me meer men met mij mijn moet na naar niet niets nog nu of om omdat onder ons onze ook op over reeds te tegen toch
        toen tot u uit uw van veel voor waar waarom waren was wat we werd wezen wie wij wil worden wordt zal ze zelf zich zij
        zijn zo zonder zou
    """,
    "english": """
        i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its
        itself they them their theirs themselves what which who whom this that these those am is are was were be been being
        have has had having do does did doing a an the and but if or because as until while of at by for with about against
        between into through during before after above below to from up down in out on off over under again further then
        once here there when where why how all any both each few more most other some such no nor not only own same so than
        too very can will just should now s t d m o y ll re ve don ain aren couldn didn doesn hadn hasn haven isn ma mightn
        mustn needn shan shouldn wasn weren won wouldn don't ain't aren't couldn't didn't doesn't hadn't hasn't haven't isn't
        mightn't mustn't needn't shan't shouldn't should've wasn't weren't won't wouldn't it's she's that'll you'd you'll
        you're you've
    """,
    "finnish": """
        olla olen olet on olemme olette ovat ole oli olin olit olimme olitte olivat ollut olleet olisi en et ei emme ette
        eivät minä minun minut minua minussa minusta minulla minulle sinä sinun sinut sinua sinulla sinulle hän hänen hänet
        häntä hänellä hänelle me meidän meidät meitä meillä meille te teidän teidät teitä teillä teille he heidän heidät
        heitä heillä heille tämä tämän tätä tässä tästä tähän tällä tälle tuo tuon tuota tuossa tuosta tuohon tuolla se sen
        sitä siinä siitä siihen sillä sille nämä näiden näitä näissä nuo noiden noita ne niiden niitä niissä niistä niihin
        niillä niille kuka kenen kenet ketä mikä minkä mitä missä mistä mihin millä joka jonka jota jossa josta johon jolla
        jolle jotka joiden joita että ja jos koska kuin mutta niin sekä tai vaan vai vaikka kun kanssa mukaan noin poikki yli
        nyt itse myös vain jo
    """,
    "french": """
        au aux avec c ce ces cet cette d dans de des du elle elles en est et eu été être eux fut furent il ils ont j je l la
        le les leur leurs lui m ma mais me même mes moi mon n ne nos notre nous on ou où par pas pour qu que qui quoi quand
        s sa sans se sera serait ses si son sont soit sur suis t ta te tes toi ton tu un une vos votre vous y à a ai as ait
        aient aie avait avais avaient avons avez aura auront aurait ayant es était étais étaient étant sommes êtes ici là
        comme donc car ni or plus très dont ceci cela ça celui celle ceux celles aussi chez entre vers sous
    """,
    "german": """
        aber alle allem allen aller alles als also am an ander andere anderem anderen anderer anderes auch auf aus bei bin bis
        bist da damit dann das dass daß dasselbe dazu dein deine deinem deinen deiner deines dem demselben den denn denselben
        der derer derselbe derselben des desselben dessen dich die dies diese dieselbe dieselben diesem diesen dieser dieses
        dir doch dort du durch ein eine einem einen einer eines einig einige einigem einigen einiger einiges einmal er es
        etwas euch euer eure eurem euren eurer eures für gegen gewesen hab habe haben hat hatte hatten hier hin hinter ich ihm
        ihn ihnen ihr ihre ihrem ihren ihrer ihres im in indem ins ist jede jedem jeden jeder jedes jene jenem jenen jener
        jenes jetzt kann kein keine keinem keinen keiner keines können könnte machen man manche manchem manchen mancher
        manches mein meine meinem meinen meiner meines mich mir mit muss musste nach nicht nichts noch nun nur ob oder ohne
        sehr sein seine seinem seinen seiner seines selbst sich sie sind so solche solchem solchen solcher solches soll sollte
        sondern sonst über um und uns unser unsere unserem unseren unserer unseres unter viel vom von vor während war waren
        warst was weg weil weiter welche welchem welchen welcher welches wenn werde werden wie wieder will wir wird wirst wo
        wollen wollte würde würden zu zum zur zwar zwischen
    """,
    "greek": """
        ο η το οι τα του της των τον την τους τις στο στη στον στην στους στις στα και κι ή να θα με σε για από απο προς παρά
        κατά μετά αντί επί περί ως μέχρι χωρίς δε δεν μη μην εγώ εσύ αυτός αυτή αυτό αυτοί αυτές αυτά αυτού αυτής αυτών αυτόν
        εμείς εσείς μου σου μας σας με σε που πού πως πώς πότε ποιος ποια ποιο ποιοι ποιες τι ότι ό,τι όταν αν εάν αλλά όμως
        ενώ γιατί διότι ώστε όπως όπου είναι είμαι είσαι είμαστε είστε ήταν ήμουν έχω έχεις έχει έχουμε έχετε έχουν είχε ένας
        μία μια ένα ενός μιας κάθε κάποιος κάποια κάποιο όλα όλοι όλες εδώ εκεί τώρα πολύ πιο μόνο ούτε είτε τότε
    """,
    "hebrew": """
        של את על אל עם כל לא כן גם רק או אם כי אבל אך אלא זה זו זאת אלה אלו הוא היא הם הן אני אתה אתם אתן אנחנו אנו היה הייתה היתה
        היו יהיה תהיה להיות יש אין מה מי מתי איפה היכן איך כיצד מדוע למה כמה איזה איזו אשר שלי שלך שלו שלה שלנו שלכם שלהם שלהן לי לך
        לו לה לנו לכם להם להן בי בו בה בנו בהם בהן ממני ממנו ממנה מהם אותי אותך אותו אותה אותנו אותם אותן אליו אליה עליו עליה בין תוך
        אחרי לפני מעל תחת ליד בלי ללא עד כדי כמו כאן שם פה עכשיו אז כבר עוד יותר מאוד אף כאשר כש ב ל מ ה ו ש
    """,
    "hinglish": """
        i me my we our you your he him his she her it its they them their this that these those is am are was were be been a an
        the and but if or of at by for with to from in on not no so do does did have has had what which who how when where why
        aap aapka aapke aapki aapko aur abhi agar ab apna apne apni bahut bhi bhai ek ga gaya gayi ge gi ha haan hai hain hi ho
        hoga hogi hona hota hote hoti hu hua hue hui hum humara humare humari humein humko hun inka inke inki is isi iska iske
        iski isko ise jab jahan jaise jis jiska jise jo ka kab kabhi kahan kai kaise kar karke karna karne karo karta karte
        karti kaun ke ki kis kisi kitna kitne ko koi kuch kya kyon kyun kyunki lekin liye ma magar main mai me mein mera mere
        meri mujhe mujhko na nahi nahin ne par phir raha rahe rahi sab sabhi se sirf tab tak tera tere teri tha the thi tho to
        toh tu tum tumhara tumhare tumhari tujhe un unka unke unki unko us use uska uske uski usko vo wahi wahan wale wali wo
        woh ya yaha yahan yah yeh ye
    """,
    "hungarian": """
        a az egy ez és s is de ha hogy nem ne se sem vagy mint mert meg már még csak akkor amely amelyek amelyet ami amit
        aki akik akit ahol ahogy amikor abban ahhoz annak arra azok azon azt azért bele benne el ellen ebben ehhez ennek
        erre ezek ezen ezt ezért fel felé ha hanem hiszen hogyan hol igen illetve ill ilyen itt jó ki kell keresztül kívül
        le legyen lehet lenne lenni lesz lett ma maga magát majd mely melyek mi mikor milyen minden mindig miért mit mivel
        most nagy nagyon nekem neki nincs olyan ott össze ő ők őket én te ti pedig rá sok számára szemben szerint szinte
        talán tehát több tovább továbbá úgy után utána vagyis vagyok valaki valami való van vannak vele vissza viszont volna
        volt voltak voltam
    """,
    "indonesian": """
        ada adalah agar akan aku anda antara apa apabila apakah atas atau bagaimana bagi bahwa banyak beberapa begitu belum
        bila bisa boleh bukan dan dapat dari daripada dengan di dia dimana dulu engkau guna hal hanya harus hingga ia ialah
        ini itu itulah jadi jangan jika jikalau juga kalau kalian kami kamu kapan karena ke kemudian kenapa kepada kita lagi
        lah lain lalu lebih maka mana masih masing mau melainkan mengapa menjadi mereka merupakan namun nya oleh pada padahal
        para pula pun saat saja sambil sampai sana sangat sangatlah saya seakan sebab sebagai sebelum sebuah secara sedang
        sejak selain selama seluruh semua sementara seorang seperti serta sesudah setelah setiap siapa sini situ suatu sudah
        supaya tanpa tapi telah tentang tentu terhadap tetapi tiap tidak untuk walaupun yaitu yakni yang
    """,
    "italian": """
        a ad ai al alla alle allo agli all anche ancora c che chi ci come con contro coi col cui d da dagli dai dal dall dalla
        dalle dallo degli dei del dell della delle dello di dove e ed è era erano ero essere fra fu furono gli ha hanno ho hai
        abbiamo avete aveva avevano avere i il in io l la le lei li lo loro lui ma me mi mia mie miei mio ne negli nei nel
        nell nella nelle nello no noi non nostra nostre nostri nostro o per perché più quale quali quando quanta quante
        quanti quanto quella quelle quelli quello questa queste questi questo s sarà saranno se sei si sia siamo siete sono
        sta stata state stati stato su sua sue sugli sui sul sull sulla sulle sullo suo suoi ti tra tu tua tue tuo tuoi tutti
        tutto un una uno v vi voi vostra vostre vostri vostro
    """,
    "japanese": """
        の に は を た が で て と し れ さ ある いる も する から な こと として い や れる など なっ ない この ため その あっ よう また もの という
        あり まで られ なる へ か だ これ によって により おり より による ず なり られる において ば なかっ なく しかし について せ だっ その後 できる
        それ う ので なお のみ でき き つ における および いう さらに でも ら たり その他 に関する たち ます ん なら に対して 特に せる 及び これら
        とき では にて ほか ながら うち そして とともに ただし かつて それぞれ または お ほど ものの に対する ほとんど と共に といった です とも
        ところ ここ そこ あそこ どこ 私 あなた 彼 彼女
    """,
    "kazakh": """
        және мен пен бен да де та те немесе бірақ алайда өйткені егер үшін сияқты дейін кейін бұрын туралы арқылы қарай бойынша
        бұл ол осы сол анау мынау олар біз сіз сендер сіздер мен сен менің сенің оның біздің сіздің олардың мені сені оны бізді
        сізді оларды маған саған оған бізге сізге оларға бір әр әрбір барлық бүкіл кейбір еш ешкім ештеңе кім не қандай қай
        қайда қашан қалай неге неше қанша еді екен емес жоқ бар болып болды болған болады болса болу деп деген ғана тек өте
        тағы енді өз өзі әлі міне иә ғой ма ме ба бе па пе
    """,
    "nepali": """
        र को का की ले लाई मा बाट देखि सम्म संग सँग हरू म मेरो मलाई हामी हाम्रो हामीलाई तिमी तिम्रो तपाईं तपाईँ तपाईंको तपाईको
        उ ऊ उनी उनको उनले उनीहरू यो यस यसको यसले यी त्यो त्यस त्यसको ती जो जस जसको जुन के को कसले किन कहाँ कहिले कसरी कति
        कुन कुनै तर वा अथवा यदि भने किनभने पनि नै त छ छन् छु छौं हो हुन् हुँ हुन्छ हुने थियो थिए थिइन् भयो भएको भएका भएर
        भन्ने गर्ने गरेको गरेका गर्न गरी गर्दै छैन होइन न नि अनि पछि अघि लागि साथ तथा एवं एक एउटा सबै धेरै केही अब अहिले
        यहाँ त्यहाँ जब तब मात्र अरू आफ्नो आफू
    """,
    "norwegian": """
        alle at av bare begge ble blei bli blir blitt både båe da de deg dei deim deira dem den denne der dere deres det dette
        di din disse ditt du dykk då eg ein eit eitt eller elles en enn er et ett etter for fordi fra før ha hadde han hans
        har hennar henne hennes her hjå ho hoe honom hun hva hvem hver hvilke hvilken hvis hvor hvordan hvorfor i ikke ikkje
        ingen ingi inkje inn inni ja jeg kan kom korleis korso kun kunne kva kvar kvifor man mange me med medan meg meget
        mellom men mi min mine mitt mot mykje må ned no noe noen noka noko nokon nokre nå når og også om opp oss over på samme
        seg selv si sia sidan siden sin sine sitt sjøl skal skulle slik so som somt så sånn til um upp ut uten var vart varte
        ved vere verte vi vil ville vore vors vort være vært å
    """,
    "portuguese": """
        a à às ao aos aquela aquelas aquele aqueles aquilo as até com como da das de dela delas dele deles depois do dos e é ela
        elas ele eles em entre era eram essa essas esse esses esta está estamos estão estar estas estava estavam este estes
        estou eu foi fomos for foram fosse fui há haver isso isto já lhe lhes mais mas me mesmo meu meus minha minhas muito na
        não nas nem no nos nós nossa nossas nosso nossos num numa o os ou para pela pelas pelo pelos por qual quando que quem
        são se sem ser será seria seu seus só somos sou sua suas também te tem têm temos tenha tenho ter teu teus teve tinha
        tinham tive tu tua tuas um uma você vocês vos
    """,
    "romanian": """
        a abia acea aceasta această aceea acei aceia acel acela acele acelea acest acesta aceste acestea acești aceștia acolo
        acum ai aia aici al ale alea alt alta altă alte alți am ar are aș așa asta astea ați au avea avem aveți azi ca că căci
        când care cărei căror cărui cât câte câți către ce cea ceea cei cel cele celor cine cu cui cum da dacă dar deci deja
        de decât deși din dintr dintre doar după ea ei el ele era erau este ești eu face fără fi fie fiecare fiind fost i îi
        îl îmi în într între își îți la le li lor lui mă mai mea mei mele mereu meu mi mie mine mult nici niște noastră
        noastre noi noștri nostru nouă nu o ori oricare orice pe pentru până prea prin printr s sa să sale sau se și sînt
        sunt suntem sunteți ta tale te ți ție tine toată toate tot toți totuși tu un una unde unei unele uneori unii unor
        unui unul va vă vi voi vom vor voastră voastre vostru vouă
    """,
    "russian": """
        и в во не что он на я с со как а то все она так его но да ты к у же вы за бы по только ее её мне было вот от меня еще
        ещё нет о из ему теперь когда даже ну вдруг ли если уже или ни быть был него до вас нибудь опять уж вам ведь там потом
        себя ничего ей может они тут где есть надо ней для мы тебя их чем была сам чтоб чтобы без будто чего раз тоже себе под
        будет ж тогда кто этот того потому этого какой совсем ним здесь этом один почти мой тем нее сейчас были куда зачем всех
        никогда можно при наконец два об другой хоть после над больше тот через эти нас про всего них какая много разве три эту
        моя впрочем хорошо свою этой перед иногда лучше чуть том нельзя такой им более всегда конечно всю между
    """,
    "slovene": """
        in ali a pa ampak toda ker da če ko kot kakor ki kar kdo kaj kje kam kdaj kako zakaj koliko kateri katera katero katere
        jaz ti on ona ono mi vi oni one mene meni tebe tebi njega njemu njo njej nas nam vas vam njih njim me te ga jo jih mu
        ji jim moj moja moje tvoj tvoja njegov njen naš naša vaš vaša njihov svoj svoja ta to te tega temu tem tista tisto
        tisti sem si je sva sta smo ste so bil bila bilo bili bom boš bo bomo boste bodo biti bi ni nisem nisi niso ne v na z
        s k h o ob od do iz za po pri pred med nad pod čez skozi brez zaradi proti se sebe že še tudi le samo zelo bolj
        najbolj vse vsi vsa ves nič nekaj nekdo tam tu tukaj sedaj zdaj potem takrat tako naj lahko
    """,
    "spanish": """
        a al algo algunas algunos ante antes como con contra cual cuando de del desde donde durante e el él ella ellas ellos en
        entre era erais éramos eran eras eres es esa esas ese eso esos esta está estaba estaban estado están estar estas este
        esto estos estoy fue fueron fui ha había habían han has hasta hay he hemos la las le les lo los más me mi mí mía mías
        mío míos mis mucho muchos muy nada ni no nos nosotras nosotros nuestra nuestras nuestro nuestros o os otra otras otro
        otros para pero poco por porque qué que quien quienes se sea sean ser será serán si sí sido sin sobre sois somos son
        soy su sus suya suyas suyo suyos también tanto te tendrá tenemos tener tengo ti tiene tienen todo todos tu tú tus tuya
        tuyas tuyo tuyos un una uno unos unas vosotras vosotros vuestra vuestras vuestro vuestros y ya yo
    """,
    "swedish": """
        alla allt att av bli blir blivit blev de dem den denna deras dess dessa det detta dig din dina ditt du där då efter ej
        eller en er era ert ett från för ha hade han hans har henne hennes hon honom hur här i icke ingen inom inte jag ju kan
        kunde man med mellan men mig min mina mitt mot mycket ni nu när någon något några och om oss på samma sedan sig sin
        sina sitta själv skulle ska som så sådan sådana sådant till under upp ut utan vad var vara varför varit varje vars
        vart vem vi vid vilka vilkas vilken vilket vår våra vårt än är åt över
    """,
    "tajik": """
        ва дар ба аз бо то ки барои чун агар ё аммо вале лекин балки зеро чунки ҳам ҳамчун низ на не нест ҳаст аст буд буданд
        бошад бошанд шуд шуданд шудааст мешавад мебошад ин он инҳо онҳо ман ту ӯ мо шумо вай маро туро моро шуморо онро инро
        худ худи ҳар ҳеҷ ҳама кадом чӣ кӣ куҷо кай чанд чаро чӣ хел як баъзе дигар бисёр кам хеле танҳо фақат боз ҳоло акнун
        пас пеш баъд баъди зери болои назди байни тарафи дохили берун бе ҷуз қадар мисли ҳамин ҳамон чунин чунон
    """,
    "turkish": """
        acaba ama ancak artık aslında az bana bazı belki ben benden beni benim beri bile bir biraz biri birkaç birşey biz bizden
        bize bizi bizim böyle bu buna bunda bundan bunlar bunları bunların bunu bunun burada çok çünkü da daha de defa değil
        diğer diye dolayı dolayısıyla en eğer fakat gibi göre hangi hatta hem hep hepsi her hiç için ile ise işte kadar
        karşın kendi kendine kez ki kim kime kimi kimin mı mi mu mü nasıl ne neden nedenle nerde nerede nereye niçin niye o
        olan olarak oldu olduğu olmak olması olsa olur on ona ondan onlar onlardan onları onların onu onun oysa öyle pek rağmen
        sadece sanki sen senden seni senin siz sizden size sizi sizin sonra şayet şey şu şuna şunda şundan şunlar şunu tarafından
        tüm üzere var ve veya ya yani yerine yine yoksa zaten
    """,
}

LANGUAGES = tuple(_LISTS)
"""All languages that have a list."""


@lru_cache(maxsize=len(_LISTS))
def _words_of(language: str) -> frozenset[str]:
    return frozenset(_LISTS[language].split())


def stopwords_of(languages: Iterable[str]) -> frozenset[str]:
    """Give the stopwords of several languages."""
    return frozenset().union(*map(_words_of, languages))
